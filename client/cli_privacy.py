"""`mammofed-site privacy`: what has been spent of the patients' privacy, and what is left."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output


def privacy(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show what models may tell of a patient here at most, over all runs under noise.

    Epsilon bounds how much surer anybody can become of whether a patient's images were used; each run adds to
    it, and nothing takes it back. `privacy.max_epsilon` in policy.toml is the budget: a plan that would go
    beyond it is refused.
    """
    from client.accounting import epsilon, rounded_up
    from client.policy.reading import read_policy
    from client.store.noisy_rounds import NoisyRounds
    from client.store.opening import open_site_store

    opened = SiteHome(home)
    rules = read_policy(opened.policy_file).privacy
    rounds = NoisyRounds(open_site_store(opened.folder)).all()
    run_ids = list(dict.fromkeys(each.run_id for each in rounds))
    spent = rounded_up(epsilon((each.steps for each in rounds), rules.delta))
    runs = [
        {
            "run_id": run_id,
            "rounds": sum(each.run_id == run_id for each in rounds),
            "epsilon": rounded_up(
                epsilon((each.steps for each in rounds if each.run_id == run_id), rules.delta)
            ),
        }
        for run_id in run_ids
    ]
    values = {"epsilon": spent, "delta": rules.delta, "max_epsilon": rules.max_epsilon, "runs": runs}
    budget = "no budget is set" if rules.max_epsilon is None else f"of at most {rules.max_epsilon:g}"
    lines = [
        f"Spent in all: epsilon {spent:.2f} for delta {rules.delta:g}; {budget}.",
        *(f"  {run['run_id']}: {run['rounds']} rounds, alone {run['epsilon']:.2f}" for run in runs),
    ]
    if not runs:
        lines.append("No run under noise was computed here; what runs without noise may tell has no bound.")
    Output(as_json).result(values, "\n".join(lines))
