"""The sites' checkpoints at the coordinator: kept in every round, and held against those before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.lifecycle import AnswerState, RunState
from shared.audit.chain import GENESIS
from shared.audit.checkpoints import CHECKPOINT_TYPE
from shared.audit.events import CheckpointKept, HistoryContradicted
from shared.records import Contribution
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import SigningKey
from tests.unit.server.simulated_federation import (
    Asked,
    Deed,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
    small_plan,
)

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def federation(tmp_path: Path) -> SimulatedFederation:
    return SimulatedFederation(tmp_path, small_plan(2))


def with_checkpoint(checkpoint: str) -> Deed:
    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        payload = Envelope.from_bytes(honest(site, asked)).unverified_payload
        contribution = Contribution.from_bytes(payload)
        return site.signed(contribution.model_copy(update={"checkpoint": checkpoint}))

    return deed


def shows(site: SimulatedSite, *, sequence: int, head: str) -> Deed:
    """Answer as the protocol says, and vouch for a log of this length and hash, at the time of answering."""

    def deed(asked_site: SimulatedSite, asked: Asked) -> bytes:
        return with_checkpoint(site.checkpoint(sequence=sequence, head=head))(asked_site, asked)

    return deed


def told(federation: SimulatedFederation, name: str) -> list[tuple[str, str, int]]:
    return [
        (line.actor, line.subject, int(str(line.details["sequence"])))
        for line in federation.coordinator.audit.lines()
        if line.name == name
    ]


def test_every_answer_brings_a_checkpoint_that_is_kept_a_refusal_too(federation: SimulatedFederation) -> None:
    bergen = federation["bergen"]
    bergen.does(shows(bergen, sequence=7, head=ONE), in_round=1)
    federation["cork"].does(refuse)

    federation.run()

    assert federation.state is RunState.FINISHED
    assert ("coordinator", "site-bergen", 7) in told(federation, CheckpointKept.name)
    kept = {site: federation.coordinator.audit.checkpoints_of(site) for site in ("site-bergen", "site-cork")}
    assert [each.sequence for each in kept["site-bergen"][:2]] == [0, 7]  # of its count, of round one
    assert kept["site-cork"]


@pytest.mark.parametrize(
    ("sequence", "head"), [(7, OTHER), (5, OTHER)], ids=["another of that length", "a shorter one"]
)
def test_a_site_that_rewrote_its_history_is_found_out_and_the_round_goes_on(
    sequence: int, head: str, federation: SimulatedFederation
) -> None:
    bergen = federation["bergen"]
    bergen.does(shows(bergen, sequence=7, head=ONE), in_round=1)
    bergen.does(shows(bergen, sequence=sequence, head=head), in_round=2)

    federation.run()

    contradictions = told(federation, HistoryContradicted.name)
    assert ("coordinator", "site-bergen", sequence) in contradictions
    assert {site for _, site, _ in contradictions} == {"site-bergen"}
    assert federation.answer_of("bergen", 2)[0] is AnswerState.ADMITTED
    heads = [each.head for each in federation.coordinator.audit.checkpoints_of("site-bergen")]
    assert heads[:2] == [GENESIS, ONE]  # of its count, of round one


def checkpoint_of_another_site(federation: SimulatedFederation) -> str:
    return federation["cork"].checkpoint(sequence=7, head=ONE)


def checkpoint_of_another_signed_by_bergen(federation: SimulatedFederation) -> str:
    stolen = Envelope.from_bytes(checkpoint_of_another_site(federation).encode())
    signing_key = federation["bergen"].signing_key
    return sign(CHECKPOINT_TYPE, stolen.unverified_payload, signing_key).to_bytes().decode()


def checkpoint_signed_by_a_stranger(federation: SimulatedFederation) -> str:
    own = Envelope.from_bytes(federation["bergen"].checkpoint(sequence=7, head=ONE).encode())
    return sign(CHECKPOINT_TYPE, own.unverified_payload, SigningKey.generate()).to_bytes().decode()


def no_document(_federation: SimulatedFederation) -> str:
    return "{}"


@pytest.mark.parametrize(
    "forge",
    [
        checkpoint_of_another_site,
        checkpoint_of_another_signed_by_bergen,
        checkpoint_signed_by_a_stranger,
        no_document,
    ],
    ids=lambda forge: forge.__name__,
)
def test_a_checkpoint_that_is_not_the_sites_own_keeps_the_contribution_out(
    forge, federation: SimulatedFederation
) -> None:
    federation["bergen"].does(with_checkpoint(forge(federation)), in_round=1)

    federation.run()

    state, reason = federation.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert reason is not None
    assert "not of the site's own audit log" in reason
    heads = [each.head for each in federation.coordinator.audit.checkpoints_of("site-bergen")]
    assert ONE not in heads
    assert federation.answer_of("bergen", 2)[0] is AnswerState.ADMITTED


def test_every_announcement_brings_the_coordinators_checkpoint_as_its_log_stood(
    federation: SimulatedFederation,
) -> None:
    seen: list[str] = []

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        seen.append(asked.announcement.checkpoint)
        return honest(site, asked)

    federation["aarhus"].does(look)
    federation.run()

    lines = {line.sequence: line.hash for line in federation.coordinator.audit.lines()}
    assert len(seen) == 3
    for text in seen:
        checkpoint = federation.read_checkpoint(text)
        assert lines[checkpoint.sequence] == checkpoint.head
