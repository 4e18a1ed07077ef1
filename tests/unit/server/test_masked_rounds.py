"""Runs under secure aggregation: the bytes of plain ones, and nothing of one site at the coordinator."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import server.masked_exchanges
from server.lifecycle import AnswerState, RoundState, RunState
from server.submission import with_privacy_settled
from shared.errors import PlanError, QuorumError
from shared.fixed_point.masked_file import read_masked
from shared.fixed_point.sums import IntegerSum
from shared.plan import AggregationPlan, Plan, PrivacyPlan, StrategyName
from shared.records import MASKED_ROUND_PHASES, Phase
from shared.transfer.blob_ref import BlobRef
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


def masked_plan(rounds: int, *, timeout_s: float = 60, **privacy: Any) -> Plan:
    plan = small_plan(rounds, timeout_s=timeout_s)
    return plan.model_copy(update={"privacy": PrivacyPlan(secure_aggregation="on", **privacy)})


def when(phase: Phase, deed: Deed, *, in_round: int = 1, then: Deed = honest) -> Deed:
    """A deed in one phase of one round, and another in all the others."""

    def does(site: SimulatedSite, asked: Asked) -> bytes:
        here = asked.occasion.phase is phase and asked.occasion.round_number == in_round
        return (deed if here else then)(site, asked)

    return does


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[BlobRef]:
    """What is uploaded in the course of a test."""
    seen: list[BlobRef] = []
    upload = SimulatedSite.upload

    def note(site: SimulatedSite, content: bytes) -> BlobRef:
        seen.append(upload(site, content))
        return seen[-1]

    monkeypatch.setattr(SimulatedSite, "upload", note)
    return seen


def exact(federation: SimulatedFederation, number: int, *names: str) -> bool:
    """Whether a round came to the plain mean of these sites' updates, to the last bit."""
    made = federation.weights(federation.aggregate_of(number))
    expected = federation.honest_mean(number, *names)
    return all(bool((made[name] == expected[name]).all()) for name in expected)


@pytest.mark.parametrize(("strategy", "bits"), [("fedavg", 16), ("fedadam", 8), ("scaffold", 16)])
def test_a_masked_run_comes_to_the_bytes_of_the_plain_one(
    found_federation: Make, strategy: StrategyName, bits: int
) -> None:
    digests = set()
    for plan in (small_plan(2), masked_plan(2)):
        aggregation = AggregationPlan.model_validate({"strategy": strategy, "bits": bits})
        federation = found_federation(plan=plan.model_copy(update={"aggregation": aggregation}))
        federation.run()
        assert federation.state is RunState.FINISHED
        digests.add(federation.checkpoint.weights.digest)

    assert len(digests) == 1


def test_a_masked_run_asks_for_five_phases_in_each_round_under_one_number(found_federation: Make) -> None:
    federation = found_federation(plan=masked_plan(2))

    federation.run()

    asked = [(each.round_number, each.attempt, each.phase) for each in federation["cork"].asked]
    assert asked == [
        *((number, 1, phase) for number in (1, 2) for phase in MASKED_ROUND_PHASES),
        (2, 1, Phase.EVALUATE),
    ]
    rounds = federation.coordinator.runs.rounds(RUN_ID)
    assert {one.state for one in rounds} == {RoundState.AGGREGATED}


@pytest.mark.parametrize(
    ("phase", "deed"),
    [
        *((phase, fail) for phase in MASKED_ROUND_PHASES),
        (Phase.SHARES, refuse),
        (Phase.TRAIN, go_offline),
        (Phase.SURVIVORS, go_offline),
    ],
)
def test_a_site_that_is_lost_in_any_phase_costs_its_own_update_at_most(
    found_federation: Make, phase: Phase, deed: Deed
) -> None:
    """Four sites bear one that leaves: before it has sent its update without it, afterwards with it."""
    federation = found_federation(plan=masked_plan(1), sites=FOUR)
    federation["bergen"].does(when(phase, deed))

    federation.run()

    assert federation.state is RunState.FINISHED
    late = phase in {Phase.SURVIVORS, Phase.UNMASK}
    names = sorted(FOUR) if late else sorted(FOUR.keys() - {"bergen"})
    assert exact(federation, 1, *names)


def test_with_more_sites_lost_than_is_borne_the_round_is_tried_again_with_fresh_keys(
    found_federation: Make, uploads: list[BlobRef]
) -> None:
    """Two of three vanish before they send: nobody signed, so that all may be added up in the next try."""
    federation = found_federation(plan=masked_plan(1))
    for name in ("aarhus", "bergen"):
        federation[name].does(
            *[honest] * 2, fail, *[honest] * 20
        )  # keys and shares are answered, the update is not

    federation.run()

    assert federation.state is RunState.FINISHED
    assert [answer.attempt for answer in federation.answers_of("aarhus", 1)] == [1, 2]
    assert exact(federation, 1, "aarhus", "bergen", "cork")
    assert (
        len({blob.digest for blob in uploads}) == len(uploads) == 4
    )  # cork's update twice, under other masks
    assert federation["cork"].kept[1].asked.occasion.attempt == 1


def test_updates_of_an_attempt_that_came_to_nothing_are_not_kept(
    found_federation: Make, uploads: list[BlobRef]
) -> None:
    federation, here = found_federation(plan=masked_plan(1)), list[bool]()

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        here.extend(federation.coordinator.blobs.has(blob.digest) for blob in uploads)
        return honest(site, asked)

    for name in ("aarhus", "bergen"):
        federation[name].does(*[honest] * 2, fail, look, *[honest] * 20)

    federation.run()

    assert len(here) == 2  # cork's one, looked at by the two that are asked for keys again
    assert not any(here)


def test_differencing_a_crash_after_signatures_does_not_lead_to_a_sum_over_other_sites(
    found_federation: Make,
) -> None:
    """The first attempt names two survivors and dies while it unmasks; then the third site is back."""
    federation = found_federation(plan=masked_plan(1))
    federation["bergen"].does(when(Phase.TRAIN, fail))

    class Crash(BaseException):
        pass

    def crash(_site: SimulatedSite, _asked: Asked) -> bytes:
        raise Crash

    federation["cork"].does(when(Phase.UNMASK, crash))
    with pytest.raises(Crash):
        federation.run()
    assert federation["cork"].settled[1] == ("site-aarhus", "site-cork")
    for name in ("bergen", "cork"):
        federation[name].does(honest)

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert exact(federation, 1, "aarhus", "cork")
    assert [each.phase for each in federation["bergen"].asked if each.attempt == 2] == [
        Phase.KEYS,
        Phase.SHARES,
    ]


def test_differencing_a_coordinator_that_names_other_survivors_gets_no_second_sum(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before, by a coordinator that forgets whom it has named: the sites do not."""
    federation = found_federation(plan=masked_plan(1, timeout_s=5))
    federation["bergen"].does(when(Phase.TRAIN, fail))

    class Crash(BaseException):
        pass

    def crash(_site: SimulatedSite, _asked: Asked) -> bytes:
        raise Crash

    federation["cork"].does(when(Phase.UNMASK, crash))
    with pytest.raises(Crash):
        federation.run()
    for name in ("bergen", "cork"):
        federation[name].does(honest)
    monkeypatch.setattr(server.masked_exchanges, "named_survivors", lambda _session, _number: None)
    monkeypatch.setattr("server.rounds.named_survivors", lambda _session, _number: None)

    with pytest.raises(QuorumError):
        federation.resume()

    signed = [
        answer.state
        for answer in federation.coordinator.runs.answers(RUN_ID, Phase.SURVIVORS)
        if answer.attempt > 1 and answer.site_id != "site-bergen"
    ]
    assert set(signed) == {AnswerState.REFUSED}


def test_late_or_interrupted_updates_are_not_carried_into_another_attempt(found_federation: Make) -> None:
    federation = found_federation(plan=masked_plan(1))
    federation.channel.breaks_in_round, federation.channel.num_asked_before = 1, 9  # amid the signatures
    with pytest.raises(ConnectionError):
        federation.run()
    assert federation.coordinator.runs.waiting_updates() == set()

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert [answer.attempt for answer in federation.answers_of("cork", 1)] == [1, 2]
    assert exact(federation, 1, *SITES)


def test_nothing_that_the_coordinator_stores_or_is_told_has_a_single_update_in_it(
    found_federation: Make, uploads: list[BlobRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of its uploads is even noise, and what else it was told does not shorten with an update."""
    contents: list[bytes] = []
    put = SimulatedSite.upload

    def keep(site: SimulatedSite, content: bytes) -> BlobRef:
        contents.append(content)
        return put(site, content)

    monkeypatch.setattr(SimulatedSite, "upload", keep)
    federation = found_federation(plan=masked_plan(1))
    sums: list[Mapping[str, Any]] = []
    add = IntegerSum.add

    def note(total: IntegerSum, read: Any) -> None:
        add(total, read)
        sums.append({name: total.of(name).copy() for name in federation["cork"].trained[1].sent})

    monkeypatch.setattr(IntegerSum, "add", note)

    federation.run()

    asked = federation["cork"].trained[1]
    grid = asked.grid(federation["cork"].train(asked))
    assert len(contents) == 3
    for content in contents:
        words = np.concatenate(list(read_masked(io.BytesIO(content), grid, ring=18)))
        for place in (0, 8, 10):
            counts = np.bincount((words >> place) & 0xFF, minlength=256)
            expected = words.size / 256
            assert 160 < float(((counts - expected) ** 2 / expected).sum()) < 365
    for partial in sums:
        values = np.concatenate([partial[name] for name in grid.shapes])
        counts = np.bincount(values & 0xFF, minlength=256)
        assert 160 < float(((counts - values.size / 256) ** 2 / (values.size / 256)).sum()) < 365


def test_an_upload_of_another_length_or_form_is_rejected_and_the_round_goes_on(
    found_federation: Make,
) -> None:
    federation = found_federation(plan=masked_plan(1), sites=FOUR)

    def send_plain(site: SimulatedSite, asked: Asked) -> bytes:
        return site.contribute(asked, site.train(asked))

    federation["bergen"].does(when(Phase.TRAIN, send_plain))

    federation.run()

    state, reason = federation.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert "masked for other sites" in (reason or "")
    assert exact(federation, 1, "aarhus", "cork", "dundee")


def test_a_site_that_tells_something_else_of_masks_is_rejected(found_federation: Make) -> None:
    federation = found_federation(plan=masked_plan(1), sites=FOUR)

    def repeat_keys(site: SimulatedSite, asked: Asked) -> bytes:
        keys = site.parties.of(RUN_ID, asked.occasion.attempt_sha256).keys()
        return site.signed(site.contribution(asked, None, keys))

    federation["bergen"].does(when(Phase.SHARES, repeat_keys))

    federation.run()

    answers = federation.coordinator.runs.answers(RUN_ID, Phase.SHARES)
    rejected = [answer.site_id for answer in answers if answer.state is AnswerState.REJECTED]
    assert rejected == ["site-bergen"]
    assert exact(federation, 1, "aarhus", "cork", "dundee")


@pytest.mark.parametrize(("num_sites", "is_on"), [(2, False), (3, True), (10, True)])
def test_secure_aggregation_is_on_for_three_sites_or_more_unless_the_plan_says_otherwise(
    num_sites: int, is_on: bool
) -> None:
    plan = small_plan(1)

    settled = with_privacy_settled(plan, num_sites=num_sites)

    assert settled.is_masked is is_on
    assert settled.sha256 != plan.sha256
    assert f'secure_aggregation = "{"on" if is_on else "off"}"' in settled.to_toml()
    on, off = (
        plan.model_copy(update={"privacy": PrivacyPlan.model_validate({"secure_aggregation": wanted})})
        for wanted in ("on", "off")
    )
    assert with_privacy_settled(on, num_sites=max(3, num_sites)).is_masked
    assert not with_privacy_settled(off, num_sites=num_sites).is_masked


@pytest.mark.parametrize("strategy", ["median", "trimmed_mean", "multi_krum"])
def test_a_strategy_that_needs_single_updates_is_refused_by_name(strategy: str) -> None:
    plan = small_plan(1, quorum=5)
    aggregation = AggregationPlan.model_validate({"strategy": strategy})
    robust = plan.model_copy(update={"aggregation": aggregation})

    with pytest.raises(PlanError, match=f"{strategy} needs each site's own update"):
        with_privacy_settled(robust, num_sites=5)

    off = robust.model_copy(update={"privacy": PrivacyPlan(secure_aggregation="off")})
    assert not with_privacy_settled(off, num_sites=5).is_masked


def test_more_colluding_sites_than_the_promise_bears_are_refused_when_a_run_is_asked_for() -> None:
    with pytest.raises(PlanError, match="needs at least 5 sites"):
        with_privacy_settled(masked_plan(1, colluding_sites=3), num_sites=4)
