"""A run under noise between running processes, from its plan to the model card and the hospitals' budgets."""

from __future__ import annotations

import re

import pytest

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from shared.masking.site_noise import epsilon_of_a_site
from tests.e2e.small_federation import VENDORS, SmallFederation

NOISE = {
    "patient_noise": {"multiplier": 2.0, "gradient_norm": 0.5},
    "site_noise": {"multiplier": 0.5},
}


@pytest.mark.slow
def test_a_run_under_both_noises_ends_in_a_model_that_tells_what_it_may_tell_of_whom(
    federation: SmallFederation,
) -> None:
    plan = federation.write_plan(
        "noisy", rounds=2, timeout_s=120, is_masked=True, noise=NOISE, aggregation={"max_update_norm": 5.0}
    )

    shown = federation.finish(federation.launch(plan))

    assert shown["state"] == "finished"
    told = [{part["site"]: part["state"] for part in one["parts"]} for one in shown["rounds"]]
    assert told == [dict.fromkeys(VENDORS, "admitted")] * 2
    coordinator = Coordinator.open(CoordinatorHome(federation.coordinator.home))
    answers = [each for each in coordinator.runs.answers(shown["run_id"]) if each.phase == "train"]
    epsilons = [each.contribution.epsilon for each in answers if each.contribution is not None]
    largest = max(epsilon for epsilon in epsilons if epsilon is not None)
    folder = federation.folder / "noisy"
    federation.coordinator.run("model", "download", shown["model_id"], "--output", str(folder))
    card = " ".join((folder / "model_card.md").read_text().split())
    assert f"Differential privacy of a patient: epsilon {largest:.2f} at most" in card
    of_a_site = epsilon_of_a_site(2, multiplier=0.5, delta=1e-5)
    assert f"Differential privacy of a site: epsilon {of_a_site:.2f} at most over the 2 rounds" in card
    for role in federation.sites.values():
        spent = role.ask("privacy")
        assert [(run["run_id"], run["rounds"]) for run in spent["runs"]] == [(shown["run_id"], 2)]
        assert 0 < spent["epsilon"] <= largest
        left = role.ask("ledger", "--run", shown["run_id"])
        names = {name for line in left for name in line["names"]}
        assert not [name for name in names if re.match(r"evaluation|train_loss|appearance", name)]
