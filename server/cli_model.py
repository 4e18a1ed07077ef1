"""`mammofed-coordinator model show`, `release`, `revoke` and `compare`."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from typing import Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.persons.roles import Action
from shared.terminal import Output

WORST = "*"

ModelArgument = Annotated[str, typer.Argument(help="Model id, from `model list`.")]


def model_show(model_id: ModelArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show a model's passport: state, digest, and what its evaluation has shown.

    Each supplement is verified first: signed by this coordinator, and for this very model. A release needs
    those that `release_needs` of `coordinator.toml` names and the model's plan can give; what is missing is
    said, and why a plan cannot give it.
    """
    from server.coordinator import Coordinator
    from server.registry import needs_of
    from server.supplements import supplements_of
    from shared.plan import Plan
    from shared.supplements import lines_of, to_json
    from shared.untold import untold

    coordinator = Coordinator.open(CoordinatorHome(home))
    model = coordinator.models.get(model_id)
    supplements = supplements_of(coordinator, model)
    plan = Plan.from_toml(coordinator.runs.get(model.run_id).plan_toml)
    missing = sorted(needs_of(coordinator, plan) - supplements.keys())
    document = {
        "model_id": model.model_id,
        "state": model.state.value,
        "run_id": model.run_id,
        "manifest_sha256": model.manifest_sha256,
        "supplements": to_json(supplements),
        "untold": dict(untold(plan)),
        "release_lacks": missing,
    }
    head = [
        f"{model.model_id}, {model.state.value}, of {model.run_id}",
        f"  manifest {model.manifest_sha256}",
    ]
    lacks = [f"A release lacks: {', '.join(missing)}"] if missing else []
    Output(as_json).result(document, "\n".join([*head, *lines_of(supplements, untold(plan)), *lacks]))


def model_release(model_id: ModelArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Say that a model may be used in the clinic; it may, once a second administrator has said so too.

    Both act under tokens of their own. From then on `mammofed-site model pull` fetches it, and the DICOM node
    of a site sends what it measures.
    """
    from server.registry import release
    from server.store.models import Release

    coordinator, actor = open_for(home, Action.MODEL_RELEASE)
    outcome = release(coordinator, model_id, actor=actor)
    words = (
        f"{model_id} is released: sites may use it in the clinic."
        if outcome is Release.RELEASED
        else f"Noted. {model_id} stays a candidate until a second administrator calls `model release`."
    )
    Output(as_json).result({"model_id": model_id, "outcome": outcome.value}, words)


def model_revoke(
    model_id: ModelArgument,
    reason: Annotated[str, typer.Option(help="Why, for the sites to read; plain words.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """End a model for good. Sites learn it at their next contact and use it for no image any more.

    One person is enough. Nothing that was measured before is taken back.
    """
    from server.registry import revoke

    coordinator, actor = open_for(home, Action.MODEL_REVOKE)
    model = revoke(coordinator, model_id, reason, actor=actor)
    Output(as_json).result({"model_id": model_id, "state": model.state.value}, f"{model_id} is revoked.")


def model_compare(
    measure: Annotated[
        str, typer.Option(help="What to compare, such as percent_density_r; a wrong name lists all.")
    ] = "dice_dense",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Compare the published models by how each did on each hospital's test part when its run ended.

    The hospital where a model did worst is marked. Test parts grow: figures of two models are over the same
    images only if nothing was added between their runs.
    """
    from server.comparison import compare
    from server.coordinator import Coordinator
    from shared.evaluation.measures import IN_AGGREGATE, MEASURES, figure_text

    output = Output(as_json)
    compared = compare(Coordinator.open(CoordinatorHome(home)), measure)
    if output.as_json:
        output.json(compared.to_json())
        return
    rows = [
        {
            "model": model.model_id,
            **{
                site: IN_AGGREGATE
                if model.in_aggregate
                else figure_text(measure, model.sites.get(site)) + (WORST if site == model.worst else "")
                for site in compared.sites
            },
            "all sites": figure_text(measure, model.all_sites),
        }
        for model in compared.models
    ]
    title = f"Models by {MEASURES[measure].words}; {WORST} the worst hospital"
    output.table(title, rows, empty="No model yet: a finished run publishes one.")
