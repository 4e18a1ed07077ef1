"""`mammofed-site model`: the models that the coordinator has published, and the one in use here."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from client.acting import open_for
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.package import VerifiedPackage

model_app = typer.Typer(help="Published models, and the one in use here.", no_args_is_help=True)


@model_app.command("list")
def model_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the published models as far as this site has heard of them, and which one is in use.

    A running site hears of changes within seconds; `model pull` asks at once.
    """
    from client.models import open_models

    models = open_models(SiteHome(home))
    installed = models.installed()
    rows = [
        {
            "model_id": one.model_id,
            "state": one.state.value,
            "in_use": "yes" if installed and installed[-1].model_id == one.model_id else "",
            "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at)),
            "supplements": ", ".join(kind.value for kind in one.supplements),
            "reason": one.reason,
        }
        for one in models.published().models
    ]
    Output(as_json).table("Models", rows, empty="This site has heard of no model yet.")


@model_app.command("show")
def model_show(
    model_id: Annotated[
        str | None,
        typer.Argument(help="Model id, from `model list`.  [default: the one in use]", show_default=False),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Verify a model that this site has pulled, and show what its evaluation has shown.

    Cross-site figures, fairness with the worst site first, calibration, limits and privacy: each a supplement
    that the coordinator has signed for this very model.
    """
    from client.models import pulled

    package = pulled(SiteHome(home), model_id)
    Output(as_json).result(package.to_json(), "\n".join(package.lines))


@model_app.command("pull")
def model_pull(
    model_id: Annotated[
        str | None,
        typer.Argument(
            help="Model id, from `model list`.  [default: the newest released]", show_default=False
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Fetch a released model from the coordinator, verify it, and take it into use.

    Before it is used: the signatures of the model and of its supplements, each file, the chain of the
    coordinator's keys, that it was released and not revoked, and that this version can load it. What breaks
    off is resumed by the same command.
    """
    from client.models import pull

    output = Output(as_json)
    _, actor = open_for(home, Action.MODEL_DOWNLOAD)
    with output.progress("Fetching") as advance:
        package = pull(SiteHome(home), model_id, actor=actor, progress=advance)
    _tell(output, package, f"{package.manifest.model_id} is verified and in use.")


@model_app.command("rollback")
def model_rollback(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Go back to the model before the one in use.

    It is verified again; one that was revoked or damaged meanwhile is passed over. A DICOM node that runs
    takes it for the next image.
    """
    from client.models import roll_back

    output = Output(as_json)
    _, actor = open_for(home, Action.MODEL_DOWNLOAD)
    package = roll_back(SiteHome(home), actor=actor)
    _tell(output, package, f"{package.manifest.model_id} is verified and in use again.")


def _tell(output: Output, package: VerifiedPackage, words: str) -> None:
    output.result({"model_id": package.manifest.model_id, "manifest_sha256": package.manifest_sha256}, words)
