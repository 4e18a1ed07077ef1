"""What a published model's evaluation has shown: made of what sites told, signed, registered in one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from server.coordinator import Coordinator
from server.guarantees import guarantees
from server.lifecycle import AnswerState
from server.reference import reference_of
from server.store import Answer, Model, ModelFile, Run
from server.summary import RunSummary, Telling, last_told, summarize
from shared.band_calibration import BandCalibration, calibration_of, calibration_over_all
from shared.errors import StoreError
from shared.evaluation.measures import MEASURES, figures
from shared.evaluation.records import Evaluation
from shared.plan import Plan
from shared.records import Phase
from shared.supplements import (
    FAIRNESS_MEASURE,
    MATRIX_MEASURES,
    Calibration,
    Content,
    CrossSite,
    Fairness,
    Limits,
    ModelAtSites,
    Privacy,
    SiteFigures,
    Supplement,
    SupplementKind,
    Told,
    verify_supplement,
)

MOST_MODELS = 20
"""In the matrix, the newest."""
CALIBRATION_MEASURES = ("brier", "calibration_error")


def supplement(coordinator: Coordinator, run: Run, model: Model) -> None:
    """Sign what the evaluation of a model has shown, and register it in one transaction.

    What is registered already stays as it is.
    """
    made_at = datetime.now(UTC)
    contents = contents_of(
        Plan.from_toml(run.plan_toml),
        summarize(run, coordinator),
        coordinator.runs.answers(run.run_id),
        list(_matrix(coordinator)),
    )
    signed = [
        Supplement(
            model_id=model.model_id,
            manifest_sha256=model.manifest_sha256,
            made_at=made_at.isoformat(timespec="seconds"),
            content=content,
        )
        for content in contents
    ]
    files = [
        ModelFile(name=one.kind.file, blob=coordinator.blobs.put_bytes(one.signed(coordinator.signing_key)))
        for one in signed
    ]
    coordinator.models.supplement(model, files, at=made_at.timestamp())


def contents_of(
    plan: Plan, summary: RunSummary, answers: Sequence[Answer], matrix: Sequence[ModelAtSites]
) -> Sequence[Content]:
    """What there is to say; of what no site has told, nothing is said.

    Parameters
    ----------
    answers
        All of the run.
    matrix
        The newest published models at the sites of their runs, this one among them.
    """
    trained = [each for each in answers if each.phase is Phase.TRAIN and each.state is AnswerState.ADMITTED]
    privacy = Privacy(
        coordinator_saw="sums" if plan.is_masked else "updates",
        guarantees=tuple(guarantees(plan, answers, num_rounds=summary.num_finished)),
        update_bits=plan.aggregation.bits,
        max_update_norm=plan.aggregation.max_update_norm,
        num_rounds=plan.rounds.count,
        num_sites=len({each.site_id for each in trained}),
        told=plan.metrics,
        in_aggregate=plan.tells_in_aggregate,
    )
    test, pooled = summary.test, summary.test.over_all
    if pooled is None:
        return [privacy]
    everywhere = _measures(pooled)
    sites = _worst_first(test.by_site)
    fairness = Fairness(measure=FAIRNESS_MEASURE, sites=sites, all_sites=everywhere) if sites else None
    return [
        CrossSite(models=tuple(matrix)),
        *([] if fairness is None else [fairness]),
        Calibration(
            dense={name: everywhere[name] for name in CALIBRATION_MEASURES if name in everywhere},
            bands=_bands(plan, test),
        ),
        Limits(reference=reference_of(answers, test.together)),
        privacy,
    ]


def supplements_of(coordinator: Coordinator, model: Model) -> Mapping[SupplementKind, Supplement]:
    """The supplements of a model, verified.

    Raises
    ------
    TrustError, TamperedError
        See `verify_supplement`.
    StoreError
        A file is missing on the disk.
    """
    blobs = {file.name: file.blob for file in coordinator.models.files(model.model_id)}
    anchors = coordinator.anchors
    return {
        kind: verify_supplement(
            _read(coordinator, blobs[kind.file].digest),
            kind,
            model.manifest_sha256,
            anchors.signing_key,
            anchors.retired_keys,
        )
        for kind in SupplementKind
        if kind.file in blobs
    }


def _read(coordinator: Coordinator, digest: str) -> bytes:
    try:
        return coordinator.blobs.path(digest).read_bytes()
    except OSError as error:
        raise StoreError(
            "A supplement of the model is missing on the disk.", "Restore the coordinator's backup."
        ) from error


def _matrix(coordinator: Coordinator) -> Iterator[ModelAtSites]:
    for published in coordinator.models.all()[-MOST_MODELS:]:
        test = last_told(coordinator, published.run_id, Phase.EVALUATE)
        pooled = test.over_all
        yield ModelAtSites(
            model_id=published.model_id,
            manifest_sha256=published.manifest_sha256,
            sites=tuple(
                SiteFigures(site=site, measures=_measures(each, MATRIX_MEASURES))
                for site, each in sorted(test.by_site.items())
            ),
            all_sites={} if pooled is None else _measures(pooled, MATRIX_MEASURES),
            in_aggregate=test.together is not None,
        )


def _bands(plan: Plan, test: Telling) -> BandCalibration | None:
    if test.together is None:
        return calibration_of(plan.model.density_band, list(test.by_site.values()))
    num_sites = test.together.num_with_bands
    return calibration_over_all(plan.model.density_band, test.together.evaluation, num_sites=num_sites)


def _worst_first(told: Mapping[str, Evaluation]) -> tuple[SiteFigures, ...]:
    badness = MEASURES[FAIRNESS_MEASURE].better.badness
    sites = [SiteFigures(site=site, measures=_measures(each)) for site, each in told.items()]

    def rank(one: SiteFigures) -> tuple[bool, float, str]:
        figure = one.measures.get(FAIRNESS_MEASURE)
        return (figure is None, 0.0 if figure is None else -badness(figure.value), one.site)

    return tuple(sorted(sites, key=rank))


def _measures(evaluation: Evaluation, names: Sequence[str] = tuple(MEASURES)) -> dict[str, Told]:
    return {name: Told.of(figure) for name, figure in figures(evaluation).items() if name in names}
