"""What a site writes down about a round: its audit log, the coordinator's checkpoints, the egress ledger."""

from __future__ import annotations

import hashlib
import time

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from client.home import STORE_FILE
from client.participation import take_part
from client.store.ledger import EXPLANATIONS, Rule
from client.workplace import Workplace
from shared.audit.checkpoints import open_checkpoint
from shared.errors import StoreError
from shared.records import Contribution, Refusal
from shared.store import sqlite_url
from shared.trust.envelope import Envelope
from shared.trust.keys import SigningKey
from tests.unit.client.participation.conftest import MinimalCoordinator, ledger_rows
from tests.unit.shared.persons.sides import SideAtTerminal


def contribution_in(answer: bytes) -> Contribution:
    return Contribution.from_bytes(Envelope.from_bytes(answer).unverified_payload)


def test_what_was_answered_is_in_the_audit_log_with_the_digest_that_left(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)
    take_part(coordinator.ask(coordinator.announcement(plan=b"name = 3", round_number=2)), workplace)

    _approved, kept, released, kept_again, refused = workplace.audit.lines()
    assert (kept.name, kept.subject) == (kept_again.name, "coordinator") == ("checkpoint.kept", "coordinator")
    assert (released.actor, released.name, released.subject) == ("site-1", "contribution.released", "run-1")
    assert released.details["sha256"] == hashlib.sha256(answer).hexdigest()
    assert (refused.name, refused.details["number"], refused.details["reason"]) == (
        "contribution.refused",
        2,
        "NotApprovedError",
    )


def test_an_answer_brings_the_sites_checkpoint_as_its_log_stood(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    contribution = contribution_in(answer)
    key = SigningKey.load(coordinator.home.signing_key_file).verify_key
    checkpoint = open_checkpoint(Envelope.from_bytes(contribution.checkpoint.encode()), of="site-1", key=key)
    kept, _released = (line for line in workplace.audit.lines() if line.name != "plan.approved")
    assert (checkpoint.sequence, checkpoint.head) == (kept.sequence, kept.hash)


@pytest.mark.parametrize(("sequence", "head"), [(7, "b" * 64), (5, "b" * 64)], ids=["forked", "cut"])
def test_a_coordinator_that_rewrote_its_history_is_found_out(
    sequence: int, head: str, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    first = coordinator.checkpoint(sequence=7, head="a" * 64, at=time.time() - 60)
    take_part(coordinator.ask(coordinator.announcement(checkpoint=first)), workplace)

    later = coordinator.checkpoint(sequence=sequence, head=head)
    take_part(coordinator.ask(coordinator.announcement(checkpoint=later, round_number=2)), workplace)

    (told,) = (line for line in workplace.audit.lines() if line.name == "audit.contradicted")
    assert (told.actor, told.subject, told.details["sequence"]) == ("site-1", "coordinator", sequence)
    assert [kept.head[0] for kept in workplace.audit.checkpoints_of("coordinator")] == ["a", "b"]


def test_a_checkpoint_that_is_not_the_coordinators_own_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    key, coordinator.signing_key = coordinator.signing_key, SigningKey.generate()
    forged = coordinator.checkpoint(sequence=7, head="a" * 64)
    coordinator.signing_key = key

    announcement = coordinator.announcement(checkpoint=forged)

    answer = take_part(coordinator.ask(announcement), workplace)

    refusal = Refusal.from_bytes(Envelope.from_bytes(answer).unverified_payload)
    assert refusal.reason == "TrustError"
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]
    assert workplace.audit.checkpoints_of("coordinator") == []


def test_a_refusal_that_the_audit_log_cannot_take_is_not_in_the_ledger_either(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    with create_engine(sqlite_url(coordinator.home.folder / STORE_FILE)).begin() as connection:
        connection.execute(
            text("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
        )

    with pytest.raises((SQLAlchemyError, StoreError)):
        take_part(coordinator.ask(coordinator.announcement()), workplace)

    assert ledger_rows(coordinator.home) == []


@pytest.mark.parametrize("statement", ["UPDATE ledger SET size_bytes = 1", "DELETE FROM ledger"])
def test_a_line_of_the_ledger_is_neither_changed_nor_removed(
    statement: str, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    take_part(coordinator.ask(coordinator.announcement(plan=b"name = 3")), workplace)
    before = ledger_rows(coordinator.home)

    with (
        pytest.raises(SQLAlchemyError, match="append-only"),
        create_engine(sqlite_url(coordinator.home.folder / STORE_FILE)).begin() as connection,
    ):
        connection.execute(text(statement))

    assert ledger_rows(coordinator.home) == before


def test_the_ledger_is_shown_by_run_with_the_shapes_and_names_of_what_left(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    take_part(coordinator.ask(coordinator.announcement()), workplace)
    take_part(coordinator.ask(coordinator.announcement(plan=b"name = 3", run_id="run-2")), workplace)

    site = SideAtTerminal("site", coordinator.home.folder)

    update, contribution = site.call("ledger", "--run", "run-1")
    assert update["tensors"]["segmenter.dense_decoder.head.bias"] == [1]
    assert "evaluation.dice.dense.mean" in contribution["names"]
    assert [line["kind"] for line in site.call("ledger")] == ["update", "contribution", "refusal"]
    shown = site.text("ledger")
    assert "weights-of-the-plan" in shown
    assert EXPLANATIONS[Rule.KIND_OF_ERROR] in shown


def test_a_word_about_a_message_that_was_not_answered_is_in_the_ledger(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    workplace.egress.release_failure("TrustError")

    (line,) = ledger_rows(coordinator.home)
    assert (line.kind, line.rule, line.run_id, line.size_bytes) == (
        "failure",
        "kind-of-error",
        None,
        len("TrustError"),
    )
