"""The pages of the models: all of them beside the hospitals, and one with its life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.comparison import Comparison, by_badness, compare
from server.console.downloads import archive_response, file_response
from server.console.gate import acting
from server.console.pages import page
from server.coordinator import Coordinator
from server.lineage import lineage
from server.measure_tables import EXPLANATION, measure_tables
from server.registry import needs_of, note_download, release, revoke, verified_files
from server.summary import last_told
from server.supplements import supplements_of
from shared.evaluation.measures import MEASURES, Figure
from shared.package import MODEL_CARD
from shared.persons.roles import Action
from shared.plan import Plan
from shared.records import Phase
from shared.supplements import SupplementKind
from shared.untold import untold

PLACE = "/models"
MEASURE = "dice_dense"
NUM_HEATS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model at one hospital; `heat` is 0 for the best value of the matrix and rises to the worst."""

    figure: Figure
    heat: int
    is_worst: bool


class ModelPages:
    """Shows published models, and releases, revokes and hands them out."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(PLACE, self.list, methods=["GET"]),
            Route(f"{PLACE}/{{model_id}}", self.show, methods=["GET"]),
            Route(f"{PLACE}/{{model_id}}/files/{{name}}", self.file, methods=["GET"]),
            Route(f"{PLACE}/{{model_id}}/download", self.download, methods=["POST"]),
            Route(f"{PLACE}/{{model_id}}/release", self.release, methods=["POST"]),
            Route(f"{PLACE}/{{model_id}}/revoke", self.revoke, methods=["POST"]),
        ]

    def list(self, request: Request) -> Response:
        """Every model, the newest first, and how each did at each hospital by one measure."""
        acting(request, Action.SERVICE_SHOW)
        compared = compare(self._coordinator, request.query_params.get("measure", MEASURE))
        return page(
            request,
            "models.html.j2",
            models=list(reversed(self._coordinator.models.all())),
            compared=compared,
            matrix=matrix(compared),
            measure=MEASURES[compared.measure],
            measures=MEASURES,
        )

    def show(self, request: Request) -> Response:
        """One model: passport, lineage, fairness, measures, card."""
        acting(request, Action.SERVICE_SHOW)
        model = self._coordinator.models.get(_model_id(request))
        run = self._coordinator.runs.get(model.run_id)
        plan = Plan.from_toml(run.plan_toml)
        compared = compare(self._coordinator, request.query_params.get("measure", MEASURE))
        one = next(each for each in compared.models if each.model_id == model.model_id)
        files = self._coordinator.models.files(model.model_id)
        card = next(file for file in files if file.name == MODEL_CARD)
        test = last_told(self._coordinator, run.run_id, Phase.EVALUATE)
        return page(
            request,
            "model.html.j2",
            model=model,
            run=run,
            plan=plan,
            files=files,
            kinds=SupplementKind,
            supplements=supplements_of(self._coordinator, model),
            needs=needs_of(self._coordinator, plan),
            untold=untold(plan),
            card=self._coordinator.blobs.path(card.blob.digest).read_text("utf-8"),
            lineage=lineage(self._coordinator, run),
            compared=compared,
            one=one,
            fairness=by_badness(compared.measure, one.sites),
            cells=matrix(compared)[model.model_id],
            measure=MEASURES[compared.measure],
            measures=MEASURES,
            tables=measure_tables(test) if test.parts else [],
            explanation=EXPLANATION,
        )

    def download(self, request: Request) -> Response:
        """The verified package as one archive; it is written down who took it."""
        actor, model_id = acting(request, Action.MODEL_DOWNLOAD), _model_id(request)
        files = verified_files(self._coordinator, model_id)
        note_download(self._coordinator, model_id, actor=actor.name)
        return archive_response(self._coordinator.blobs, files, model_id)

    def file(self, request: Request) -> Response:
        """One file as it was signed, or a part of it; each time it is written down who took it."""
        actor, model_id = acting(request, Action.MODEL_DOWNLOAD), _model_id(request)
        files = self._coordinator.models.files(self._coordinator.models.get(model_id).model_id)
        answer = file_response(self._coordinator.blobs, files, str(request.path_params["name"]))
        note_download(self._coordinator, model_id, actor=actor.name)
        return answer

    def release(self, request: Request) -> Response:
        """Say that it may be used in the clinic; it may once a second person has said so."""
        actor, model_id = acting(request, Action.MODEL_RELEASE), _model_id(request)
        release(self._coordinator, model_id, actor=actor.name)
        return RedirectResponse(f"{PLACE}/{model_id}", status_code=303)

    def revoke(self, request: Request) -> Response:
        """End it for good."""
        actor, model_id = acting(request, Action.MODEL_REVOKE), _model_id(request)
        revoke(self._coordinator, model_id, request.state.form.get("reason", "").strip(), actor=actor.name)
        return RedirectResponse(f"{PLACE}/{model_id}", status_code=303)


def matrix(compared: Comparison) -> Mapping[str, Mapping[str, Cell]]:
    """Cells by model id and hospital; those that nobody tells of are left out."""
    badness = MEASURES[compared.measure].better.badness
    told = [badness(figure.value) for model in compared.models for figure in model.sites.values()]
    best, worst = min(told, default=0.0), max(told, default=0.0)

    def heat(figure: Figure) -> int:
        return round((NUM_HEATS - 1) * (badness(figure.value) - best) / (worst - best)) if worst > best else 0

    return {
        model.model_id: {
            site: Cell(figure=figure, heat=heat(figure), is_worst=site == model.worst)
            for site, figure in model.sites.items()
        }
        for model in compared.models
    }


def _model_id(request: Request) -> str:
    return str(request.path_params["model_id"])
