"""Who is asked: only sites that approve of the plan, are not paused, and train at this hour."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import server.exchange
from server.lifecycle import AnswerState, ConsentState, RunState
from server.run_document import run_document
from server.service import BlobPolicy
from server.summary import summarize
from shared.consent.records import NOTICE_TYPE, Notice, Presence, Verdict
from shared.errors import AggregationError, QuorumError, TrustError
from shared.records import REFUSAL_TYPE, Phase, Refusal
from shared.trust.envelope import sign
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    Deed,
    Silence,
    SimulatedFederation,
    SimulatedSite,
    honest,
)

Make = Callable[..., SimulatedFederation]


def take_back(federation: SimulatedFederation, name: str) -> None:
    federation.decide(name, Verdict.REFUSED, number=2, reason="not this year")


def notice(federation: SimulatedFederation, name: str, presence: Presence, *, number: int) -> None:
    site = federation[name]
    stated = Notice(number=number, site_id=site.site_id, presence=presence)
    envelope = sign(NOTICE_TYPE, stated.to_bytes(), site.signing_key).to_bytes()
    federation.coordinator.consents.note(stated, envelope=envelope, at=time.time())


def refuse_with(**changes: object) -> Deed:
    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        document = {"occasion": asked.occasion, "reason": "PolicyError", "checkpoint": site.checkpoint()}
        refusal = Refusal.model_validate(document | changes)
        return sign(REFUSAL_TYPE, refusal.to_bytes(), site.signing_key).to_bytes()

    return deed


def test_a_site_that_does_not_approve_is_never_asked_and_may_move_nothing(
    federation: SimulatedFederation,
) -> None:
    take_back(federation, "cork")
    moved = []
    policy = BlobPolicy(
        federation=federation.coordinator.federation,
        memberships=federation.coordinator.memberships,
        runs=federation.coordinator.runs,
        models=federation.coordinator.models,
    )

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        wanted = (asked.announcement.base, asked.announcement.plan)
        moved.extend(policy.may_fetch("site-cork", blob.digest) for blob in wanted)
        moved.append(policy.may_send("site-cork", "0" * 64, 1))
        return honest(site, asked)

    federation["bergen"].does(look)

    federation.run()

    assert federation.state is RunState.FINISHED
    assert federation["cork"].asked == []
    assert set(moved) == {False}


def test_a_site_that_approves_later_joins_at_the_next_round(found_federation: Make) -> None:
    federation = found_federation(3)
    take_back(federation, "cork")

    def approve_meanwhile(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.round_number == 2 and not federation["cork"].asked:
            federation.decide("cork", Verdict.APPROVED, number=3)
        return honest(site, asked)

    federation["bergen"].does(approve_meanwhile)

    federation.run()

    rounds = [each.round_number for each in federation["cork"].asked if each.phase is Phase.TRAIN]
    assert rounds == [3]


def test_a_site_that_pauses_amid_a_round_is_lost_to_it_with_its_reason(
    federation: SimulatedFederation,
) -> None:
    def pause(site: SimulatedSite, _asked: Asked) -> bytes:
        notice(federation, "cork", Presence.PAUSED, number=1)
        raise Silence

    federation["cork"].does(pause)

    federation.run()

    assert federation.state is RunState.FINISHED
    assert federation.answer_of("cork", 1) == (AnswerState.LOST, "the site has paused")
    assert federation.answers_of("cork", 2) == []


def test_a_site_that_says_by_its_answer_that_it_is_paused_is_lost_as_well(
    federation: SimulatedFederation,
) -> None:
    federation["cork"].does(refuse_with(reason="PausedError"))

    federation.run()

    assert federation.answer_of("cork", 1) == (AnswerState.LOST, "the site has paused")


def test_a_site_that_takes_its_approval_back_amid_a_round_is_lost_to_it(
    federation: SimulatedFederation,
) -> None:
    def withdraw(site: SimulatedSite, _asked: Asked) -> bytes:
        take_back(federation, "cork")
        raise Silence

    federation["cork"].does(withdraw)

    federation.run()

    assert federation.answer_of("cork", 1) == (AnswerState.LOST, "the site has taken its approval back")


def test_a_refusal_names_the_rules_that_were_broken(federation: SimulatedFederation) -> None:
    federation["cork"].does(refuse_with(rules=("limits.rounds", "egress.metrics")))

    federation.run()

    reason = "PolicyError: limits.rounds, egress.metrics"
    assert federation.answer_of("cork", 1) == (AnswerState.REFUSED, reason)


def test_a_site_that_trains_at_other_hours_is_left_out_until_then(found_federation: Make) -> None:
    federation = found_federation(2)
    opening = time.time() + 3600
    federation["cork"].does(refuse_with(reason="NotNowError", not_before=opening))

    federation.run()

    assert federation.state is RunState.FINISHED
    assert len(federation["cork"].asked) == 1


def test_a_run_waits_for_sites_that_rest_instead_of_failing(found_federation: Make) -> None:
    federation = found_federation(1, quorum=3)
    opening = time.time() + 1.0
    federation["cork"].does(refuse_with(reason="NotNowError", not_before=opening), honest)

    federation.run()

    assert federation.state is RunState.FINISHED
    first, second = federation.answers_of("cork", 1)
    assert (first.state, second.state) == (AnswerState.REFUSED, AnswerState.ADMITTED)
    assert second.asked_at >= opening


def test_a_run_waits_for_sites_that_rest_when_they_are_to_be_counted_and_weighs_them_all_alike(
    found_federation: Make,
) -> None:
    federation = found_federation(1, quorum=2)
    opening = time.time() + 1.0
    rests = refuse_with(reason="NotNowError", not_before=opening)

    def rest_until_then(site: SimulatedSite, asked: Asked) -> bytes:
        return (rests if time.time() < opening else honest)(site, asked)

    for name in ("bergen", "cork"):
        federation[name].counts = rest_until_then

    federation.run()

    assert federation.state is RunState.FINISHED
    terms = {name: federation[name].trained[1].terms for name in federation.sites}
    assert {name: (each.weight, each.total) for name, each in terms.items()} == {
        "aarhus": (100, 1000),
        "bergen": (300, 1000),
        "cork": (600, 1000),
    }


def test_a_site_whose_policy_does_not_let_its_count_be_told_takes_no_part(
    found_federation: Make,
) -> None:
    federation = found_federation(2)
    federation["cork"].counts = refuse_with(reason="PolicyError", rules=("data.min_examples",))

    federation.run()

    assert federation.state is RunState.FINISHED
    assert [federation.answers_of("cork", number) for number in (1, 2)] == [[], []]
    assert federation["aarhus"].trained[2].terms.total == 100 + 300
    answers = federation.coordinator.runs.answers(RUN_ID)
    told = {each.reason for each in answers if each.phase is Phase.COUNT and each.site_id == "site-cork"}
    assert told == {"PolicyError: data.min_examples"}
    (uncounted,) = summarize(federation.coordinator.runs.get(RUN_ID), federation.coordinator).uncounted
    assert (uncounted.site, uncounted.reason) == ("cork", "PolicyError: data.min_examples")


def test_a_site_that_wants_to_be_waited_for_without_end_holds_up_no_run(found_federation: Make) -> None:
    federation = found_federation(1, quorum=2)
    for name in ("bergen", "cork"):
        federation[name].does(refuse_with(reason="NotNowError", not_before=1e18))
    federation["aarhus"].does(honest)
    session_ends = time.time() + server.exchange.LONGEST_REST_S

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.exchange, "LONGEST_REST_S", 0.2)
        with pytest.raises(QuorumError):
            federation.run()

    assert time.time() < session_ends
    assert federation.state is RunState.FAILED


def test_a_run_whose_sites_all_pause_fails_after_its_timeout_and_keeps_its_checkpoint(
    found_federation: Make,
) -> None:
    federation = found_federation(2)

    def pause_all(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.round_number == 2:
            for name in federation.sites:
                notice(federation, name, Presence.PAUSED, number=1)
        return honest(site, asked)

    federation["aarhus"].does(pause_all)
    for name in ("bergen", "cork"):
        federation[name].does(refuse_with(reason="PausedError"), in_round=2)

    with pytest.raises(QuorumError, match="approve and are online"):
        federation.run()

    assert federation.state is RunState.FAILED
    assert federation.checkpoint.number == 1


def test_an_approval_cannot_be_taken_for_another_state_by_an_illegal_step(
    federation: SimulatedFederation,
) -> None:
    with pytest.raises((TrustError, AggregationError)):
        federation.decide("cork", Verdict.REFUSED, number=1)

    assert "site-cork" in federation.coordinator.consents.sites_in(ConsentState.APPROVED, RUN_ID)


def test_the_summary_tells_who_approves_who_has_not_decided_and_who_refuses_why(
    federation: SimulatedFederation,
) -> None:
    take_back(federation, "cork")

    run = federation.coordinator.runs.get(RUN_ID)
    shown = run_document(summarize(run, federation.coordinator), federation.coordinator)

    assert shown["quorum"] == 2
    assert shown["consents"] == [
        {"site": "aarhus", "state": "approved", "reason": ""},
        {"site": "bergen", "state": "approved", "reason": ""},
        {"site": "cork", "state": "refused", "reason": "not this year"},
    ]
