"""Runs that let metrics out in aggregate only: the figures of plain runs, and nothing of one site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import server.masked_exchanges
from server.cli_model import model_show
from server.comparison import compare
from server.lifecycle import AnswerState, RoundState, RunState
from server.measure_tables import ALL_SITES, measure_tables
from server.model_card import OF_SITES
from server.run_document import run_document
from server.summary import summarize
from server.supplements import supplements_of
from shared.appearance import LEAST_IN_ALL, QUANTITIES, describe
from shared.errors import QuorumError
from shared.evaluation.measures import IN_AGGREGATE, MEASURES
from shared.evaluation.records import Calibration, Evaluation, Moments, PercentDensity, SegmentMoments
from shared.masking.metric_words import from_text
from shared.package import METRICS, MODEL_CARD
from shared.plan import Plan, PrivacyPlan
from shared.records import MASKED_ROUND_PHASES, Contribution, Phase, masked_phases
from shared.supplements import CrossSite, Limits, Privacy, SupplementKind
from shared.trust.envelope import Envelope
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    Asked,
    Deed,
    SimulatedFederation,
    SimulatedSite,
    fail,
    go_offline,
    honest,
    refuse,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
FOUR = {**SITES, "dundee": 20}
PRECISION = 1e-6


def plan_of(rounds: int, *, metrics: str | None = "in_aggregate", timeout_s: float = 60) -> Plan:
    privacy = PrivacyPlan.model_validate({"secure_aggregation": "on", "metrics": metrics})
    return small_plan(rounds, timeout_s=timeout_s).model_copy(update={"privacy": privacy})


def moments(count: int, mean: float, variance: float) -> Moments:
    return Moments(num_images=count, mean=mean, variance=variance)


def evaluation_of(place: int) -> Evaluation:
    """Of other images at each site, in number and in kind."""
    count, level = 8 + 5 * place, 10.0 + 12 * place
    return Evaluation(
        num_examples=count,
        loss=moments(count, 0.2 + 0.1 * place, 0.02),
        dice=SegmentMoments(
            dense=moments(count, 0.9 - 0.08 * place, 0.003),
            breast=moments(count, 0.96, 0.001),
            pectoral=None if place == 0 else moments(5, 0.8, 0.01),
        ),
        percent_density=PercentDensity(
            num_images=count,
            mean_measured=level + 1.5,
            mean_expert=level,
            variance_measured=40.0 + place,
            variance_expert=36.0,
            covariance=30.0,
            mean_absolute_difference=2.5,
        ),
        calibration=Calibration(**dict(moments(count, 0.1 + 0.01 * place, 0.002)), bins=(None,) * 10),
    )


def looks(place: int) -> Any:
    random, num = np.random.default_rng(place), len(QUANTITIES)
    return describe(random.random(num) + random.standard_normal((LEAST_IN_ALL, num)), told=30)


def populate(federation: SimulatedFederation, *, in_rounds: bool = True) -> SimulatedFederation:
    """Give each site figures of its own."""
    for place, site in enumerate(federation.sites.values()):
        site.evaluation = evaluation_of(place)
        site.appearance = looks(place)
        site.num_examples = max(site.num_examples, 40)
    return federation


def when(phase: Phase, deed: Deed, *, in_round: int) -> Deed:
    """A deed in one phase of one round, and honesty in all the others."""

    def does(site: SimulatedSite, asked: Asked) -> bytes:
        here = asked.occasion.phase is phase and asked.occasion.round_number == in_round
        return (deed if here else honest)(site, asked)

    return does


def contributions(site: SimulatedSite) -> list[Contribution]:
    """All that a site has said."""
    return [Contribution.from_bytes(Envelope.from_bytes(said).unverified_payload) for said in site.said]


def measures(document: Mapping[str, Any]) -> dict[str, float]:
    return {name: each["value"] for name, each in document["measures"].items()}


def document_of(federation: SimulatedFederation) -> dict[str, Any]:
    run = federation.coordinator.runs.get(RUN_ID)
    return run_document(summarize(run, federation.coordinator), federation.coordinator)


def test_the_figures_of_all_sites_are_those_of_a_run_that_tells_each_sites(found_federation: Make) -> None:
    plain, summed = (
        populate(found_federation(plan=plan_of(2, metrics=metrics))) for metrics in (None, "in_aggregate")
    )

    for federation in (plain, summed):
        federation.run()
        assert federation.state is RunState.FINISHED

    assert summed.checkpoint.weights.digest == plain.checkpoint.weights.digest
    expected, found = document_of(plain), document_of(summed)
    for one, other in zip(expected["rounds"], found["rounds"], strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], abs=PRECISION)
        assert measures(other["incoming"]) == pytest.approx(measures(one["incoming"]), abs=PRECISION)
        assert other["incoming"]["num_examples"] == one["incoming"]["num_examples"]
    assert measures(found["test_of_all"]) == pytest.approx(measures(expected["test_of_all"]), abs=PRECISION)
    for name, figure in expected["test_of_all"]["measures"].items():
        beside = found["test_of_all"]["measures"][name]
        assert beside["num_images"] == figure["num_images"]
        if figure["interval"]:
            assert beside["interval"] == pytest.approx(figure["interval"], abs=PRECISION)
    histories = [federation.coordinator.histories.rounds(RUN_ID) for federation in (plain, summed)]
    for one, other in zip(*histories, strict=True):
        assert other.figures.keys() == one.figures.keys()
        assert other.figures["dice_dense"] == pytest.approx(one.figures["dice_dense"], abs=PRECISION)


def test_the_final_weights_are_evaluated_in_five_phases_under_a_number_of_their_own(
    found_federation: Make,
) -> None:
    federation = populate(found_federation(plan=plan_of(1)))

    federation.run()

    asked = [(each.round_number, each.attempt, each.phase) for each in federation["cork"].asked]
    assert asked == [
        *((1, 1, phase) for phase in MASKED_ROUND_PHASES),
        *((2, 1, phase) for phase in masked_phases(Phase.EVALUATE)),
    ]
    assert {one.state for one in federation.coordinator.runs.rounds(RUN_ID)} == {RoundState.AGGREGATED}


def test_reading_along_nothing_that_a_site_says_tells_its_metrics(found_federation: Make) -> None:
    """Every word of one site is even noise, in itself and in what is left of it beside another's."""
    federation = populate(found_federation(plan=plan_of(8)))

    federation.run()

    told = {name: contributions(site) for name, site in federation.sites.items()}
    words = {
        name: [from_text(each.masked_metrics) for each in said if each.masked_metrics is not None]
        for name, said in told.items()
    }
    assert {len(each) for each in words.values()} == {9}  # eight rounds, and the final weights
    pairs = [words["aarhus"][place] + words["bergen"][place] for place in range(9)]
    for seen in (*words.values(), pairs):
        values = np.concatenate(seen).view(np.uint8)
        counts, expected = np.bincount(values, minlength=256), values.size / 256
        assert expected > 20
        assert 160 < float(((counts - expected) ** 2 / expected).sum()) < 365  # 255 degrees of freedom
    for said in told.values():
        for each in said:
            clear = (each.train_loss, each.evaluation, each.personal_evaluation, each.appearance)
            assert clear == (None, None, None, None)
    for answer in federation.coordinator.runs.answers(RUN_ID):
        assert answer.contribution is not None
        assert answer.contribution.evaluation is None
    for told_of_sites in federation.coordinator.histories.of_sites(RUN_ID, ["site-cork"]).values():
        assert not any(set(figures) & {"train_loss", *MEASURES} for figures in told_of_sites.values())


def test_what_is_shown_of_a_site_says_in_aggregate_only(found_federation: Make) -> None:
    federation = populate(found_federation(plan=plan_of(2)))

    federation.run()

    coordinator = federation.coordinator
    summary = summarize(coordinator.runs.get(RUN_ID), coordinator)
    for table in measure_tables(summary.test):
        *sites, everywhere = table.rows
        assert {row[1] for row in sites} == {IN_AGGREGATE}
        assert {cell for row in sites for cell in row[2:]} == {"-"}
        assert everywhere[0] == ALL_SITES
        assert any(cell != "-" for cell in everywhere[2:])
    assert all(part["metrics_in_aggregate_only"] for part in document_of(federation)["test"])
    compared = compare(coordinator, OF_SITES).models[0]
    assert compared.in_aggregate
    assert compared.sites == {}
    assert compared.worst is None
    assert compared.all_sites is not None
    files = {
        file.name: coordinator.blobs.path(file.blob.digest).read_text()
        for file in coordinator.models.files(compared.model_id)
        if file.name in {MODEL_CARD, METRICS}
    }
    assert IN_AGGREGATE in files[MODEL_CARD]
    assert f"{MEASURES[OF_SITES].words}, cork" not in files[MODEL_CARD]


def test_supplements_tell_of_all_sites_and_say_that_no_site_is_known(
    found_federation: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = populate(found_federation(plan=plan_of(1)))

    federation.run()

    coordinator = federation.coordinator
    (model,) = coordinator.models.all()
    signed = {kind: each.content for kind, each in supplements_of(coordinator, model).items()}
    assert signed.keys() == set(SupplementKind) - {SupplementKind.FAIRNESS}
    matrix = signed[SupplementKind.CROSS_SITE]
    limits, privacy = signed[SupplementKind.LIMITS], signed[SupplementKind.PRIVACY]
    assert isinstance(matrix, CrossSite)
    assert isinstance(limits, Limits)
    assert isinstance(privacy, Privacy)
    assert matrix.models[0].sites == ()
    assert matrix.models[0].in_aggregate
    assert OF_SITES in matrix.models[0].all_sites
    assert privacy.in_aggregate
    assert limits.reference.appearance is None  # 90 images; fewer than tell anything
    assert limits.reference.density_limits is not None
    model_show(model.model_id, federation.home.folder)
    shown = " ".join(capsys.readouterr().out.split())
    assert "if the model does worse at one site nobody knows" in shown
    assert "A release lacks" not in shown


def test_looks_of_all_training_images_follow_from_sums_as_from_sites(found_federation: Make) -> None:
    references = []
    for metrics in (None, "in_aggregate"):
        federation = populate(found_federation(plan=plan_of(1, metrics=metrics), sites=FOUR))
        federation.run()
        (model,) = federation.coordinator.models.all()
        limits = supplements_of(federation.coordinator, model)[SupplementKind.LIMITS].content
        assert isinstance(limits, Limits)
        references.append(limits.reference.appearance)

    plain, summed = references
    assert plain is not None
    assert summed is not None
    assert summed.num_examples == plain.num_examples == 120
    np.testing.assert_allclose(summed.mean, plain.mean, atol=PRECISION)
    np.testing.assert_allclose(summed.covariance, plain.covariance, atol=PRECISION)


@pytest.mark.parametrize(
    ("phase", "deed"),
    [
        (Phase.KEYS, fail),
        (Phase.SHARES, refuse),
        (Phase.EVALUATE, go_offline),
        (Phase.SURVIVORS, fail),
        (Phase.UNMASK, fail),
    ],
)
def test_a_site_that_is_lost_amid_the_evaluation_costs_its_own_figures_at_most(
    found_federation: Make, phase: Phase, deed: Deed
) -> None:
    federation = populate(found_federation(plan=plan_of(1), sites=FOUR))
    federation["bergen"].does(when(phase, deed, in_round=2))

    federation.run()

    assert federation.state is RunState.FINISHED
    late = phase in {Phase.SURVIVORS, Phase.UNMASK}
    counted = [
        site.evaluation.num_examples for name, site in federation.sites.items() if late or name != "bergen"
    ]
    assert document_of(federation)["test_of_all"]["num_examples"] == sum(counted)


def test_differencing_an_evaluation_is_of_no_other_sites_after_a_crash_amid_signatures(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two have signed for a sum without the third; then the coordinator dies, and the third is back."""
    federation = populate(found_federation(plan=plan_of(1, timeout_s=5)))
    federation["bergen"].does(when(Phase.EVALUATE, fail, in_round=2))

    class Crash(BaseException):
        pass

    def crash(_site: SimulatedSite, _asked: Asked) -> bytes:
        raise Crash

    federation["cork"].does(when(Phase.UNMASK, crash, in_round=2))
    with pytest.raises(Crash):
        federation.run()
    assert federation["cork"].settled[2] == ("site-aarhus", "site-cork")
    for name in ("bergen", "cork"):
        federation[name].does(honest)

    # One that forgets whom it has named gets no other sum: the sites do not forget.
    with monkeypatch.context() as hostile:
        hostile.setattr(server.masked_exchanges, "named_survivors", lambda _session, _number: None)
        hostile.setattr("server.rounds.named_survivors", lambda _session, _number: None)
        with pytest.raises(QuorumError, match="too few sites have evaluated"):
            federation.resume()
    signed = [
        answer.state
        for answer in federation.coordinator.runs.answers(RUN_ID, Phase.SURVIVORS)
        if answer.number == 2 and answer.attempt > 1 and answer.site_id != "site-bergen"
    ]
    assert set(signed) == {AnswerState.REFUSED}
    assert not federation.coordinator.histories.together(RUN_ID, Phase.EVALUATE)


def test_an_evaluation_that_has_come_about_is_not_asked_for_again(found_federation: Make) -> None:
    federation = populate(found_federation(plan=plan_of(1)))

    class Crash(BaseException):
        pass

    def crash(*_arguments: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.rounds.supplement", crash)
        with pytest.raises(Crash):
            federation.run()
    num_asked = len(federation["cork"].asked)

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert len(federation["cork"].asked) == num_asked


def changed(**changes: Any) -> Deed:
    """The honest answer with something else in it."""

    def does(site: SimulatedSite, asked: Asked) -> bytes:
        told = Contribution.from_bytes(Envelope.from_bytes(honest(site, asked)).unverified_payload)
        return site.signed(told.model_copy(update=changes))

    return does


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"masked_metrics": None}, "another form"),
        ({"masked_metrics": "0" * 16}, "another form"),
        ({"train_loss": 0.5}, "tells metrics for itself"),
        ({"evaluation": evaluation_of(1)}, "tells metrics for itself"),
    ],
)
def test_metrics_in_another_form_than_asked_are_rejected(
    found_federation: Make, changes: dict[str, Any], reason: str
) -> None:
    federation = populate(found_federation(plan=plan_of(1), sites=FOUR))
    federation["bergen"].does(when(Phase.TRAIN, changed(**changes), in_round=1))

    federation.run()

    state, why = federation.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert reason in (why or "")
    assert federation.state is RunState.FINISHED


def test_sums_where_each_sites_metrics_were_asked_for_are_rejected(found_federation: Make) -> None:
    federation = populate(found_federation(plan=plan_of(1, metrics=None), sites=FOUR))
    federation["bergen"].does(when(Phase.TRAIN, changed(masked_metrics="0" * 16), in_round=1))

    federation.run()

    state, why = federation.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert "where its own were asked for" in (why or "")


def test_a_site_that_masks_nonsense_costs_the_figures_and_no_model(found_federation: Make) -> None:
    """Nobody can look at it under its mask: the sums cannot be true, and none of them is shown."""
    federation = populate(found_federation(plan=plan_of(1)))

    def lie(site: SimulatedSite, asked: Asked) -> bytes:
        told = Contribution.from_bytes(Envelope.from_bytes(honest(site, asked)).unverified_payload)
        assert told.masked_metrics is not None
        return site.signed(told.model_copy(update={"masked_metrics": "5a" * (len(told.masked_metrics) // 2)}))

    federation["bergen"].does(when(Phase.TRAIN, lie, in_round=1))

    federation.run()

    assert federation.state is RunState.FINISHED
    (one,) = document_of(federation)["rounds"]
    assert (one["train_loss"], one["incoming"]) == (None, None)
    assert document_of(federation)["test_of_all"] is not None
