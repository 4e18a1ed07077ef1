"""The log of either role on a real database, with several writers and some who would change it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, Executable, delete, select, text, update

import client.store.audit
import server.store.audit
from client.store.opening import MIGRATIONS
from server.store.opening import open_coordinator_store
from shared.audit.chain import GENESIS, Break, Flaw, Verified, verify_chain
from shared.audit.checkpoints import (
    Checkpoint,
    Contradiction,
    open_checkpoint,
    sign_checkpoint,
    verify_against,
)
from shared.audit.events import EVENTS, RunFailed, RunRunning
from shared.audit.log import PAGE_LINES, AuditLog, append
from shared.audit.schema import audit, audit_checkpoint
from shared.errors import StoreError, TamperedError, TrustError
from shared.store import open_store, sqlite_url, transaction
from shared.trust.keys import SigningKey
from tests.unit.shared.audit.histories import STORY
from tests.unit.shared.audit.writers import append_lines

NOW = 1_700_000_000.25
KEY, SITE_KEY = SigningKey.generate(), SigningKey.generate()


@pytest.fixture
def log(engine: Engine) -> AuditLog:
    return AuditLog(engine)


@pytest.fixture
def told(log: AuditLog) -> AuditLog:
    for number, (actor, event) in enumerate(STORY):
        log.append(event, actor=actor, at=NOW + number)
    return log


def test_both_roles_write_the_same_log() -> None:
    assert client.store.audit.AuditLog is server.store.audit.AuditLog


def test_what_is_appended_is_read_back_as_an_unbroken_chain(told: AuditLog) -> None:
    lines = list(told.lines())

    assert [(line.actor, line.name, line.subject) for line in lines] == [
        (actor, event.name, event.subject) for actor, event in STORY
    ]
    assert [line.at_ms for line in lines] == [1_700_000_000_250 + 1000 * number for number in range(5)]
    assert lines[2].details["cohort"] == ["site-a", "site-b"]
    assert verify_chain(lines) == Verified(sequence=5, head=lines[4].hash)


def test_lines_are_read_from_a_number_on_and_by_subject(told: AuditLog) -> None:
    assert [line.sequence for line in told.lines(after=3)] == [4, 5]
    assert [line.sequence for line in told.lines(after=1, subject="run-1")] == [2, 3, 4]
    assert list(told.lines(subject="run-2")) == []


def test_a_log_of_several_pages_is_read_whole(engine: Engine, log: AuditLog) -> None:
    with transaction(engine) as connection:
        for _ in range(2 * PAGE_LINES):
            append(connection, RunRunning(subject="run-1"), actor="coordinator", at=NOW)

    outcome = verify_chain(log.lines())

    assert isinstance(outcome, Verified)
    assert outcome.sequence == 2 * PAGE_LINES


def test_an_event_and_what_it_tells_are_committed_together_or_not_at_all(
    engine: Engine, told: AuditLog
) -> None:
    before = list(told.lines())

    def fail() -> None:
        with transaction(engine) as connection:
            append(connection, RunRunning(subject="run-2"), actor="coordinator", at=NOW)
            append(connection, RunFailed(subject="run-2"), actor="coordinator", at=NOW)
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert list(told.lines()) == before
    told.append(RunRunning(subject="run-3"), actor="coordinator", at=NOW)
    assert isinstance(verify_chain(told.lines()), Verified)


@pytest.mark.parametrize("actor", ["", "a" * 81, "ada\nrun.finished", "\ud800"])
def test_a_line_without_a_usable_actor_is_not_written(actor: str, told: AuditLog) -> None:
    before = list(told.lines())

    with pytest.raises(StoreError):
        told.append(RunRunning(subject="run-1"), actor=actor, at=NOW)

    assert list(told.lines()) == before


# -- several processes


def test_processes_that_append_at_once_do_not_fork_the_chain(
    tmp_path: Path, database: SecretStr | None
) -> None:
    log = AuditLog(open_coordinator_store(tmp_path, database))
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=append_lines, args=(tmp_path, database, f"site-{n}", 40)) for n in range(3)
    ]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)

    assert [writer.exitcode for writer in writers] == [0] * 3
    lines = list(log.lines())
    assert isinstance(verify_chain(lines), Verified)
    assert len(lines) == 3 * 40
    for number in range(3):
        own = [line.subject for line in lines if line.actor == f"site-{number}"]
        assert own == [f"run-{each}" for each in range(40)]


def test_a_writer_that_is_killed_leaves_an_unbroken_chain(tmp_path: Path, database: SecretStr | None) -> None:
    log = AuditLog(open_coordinator_store(tmp_path, database))
    writer = multiprocessing.get_context("spawn").Process(
        target=append_lines, args=(tmp_path, database, "site-0", None)
    )
    writer.start()

    while sum(1 for _ in log.lines()) < 20 and writer.is_alive():
        writer.join(0.01)
    writer.kill()
    writer.join()

    log.append(RunRunning(subject="run-after"), actor="coordinator", at=NOW)
    lines = list(log.lines())
    assert len(lines) > 20
    assert isinstance(verify_chain(lines), Verified)


# -- somebody who changes the database

COPY = "SELECT {}, 0, 'person:eve', name, subject, '{{}}', {}, hash FROM audit WHERE sequence = {}"
ATTACKS = {
    "update": update(audit).where(audit.c.sequence == 2).values(actor="person:eve"),
    "delete": delete(audit).where(audit.c.sequence == 5),
    "delete all": delete(audit),
    "gap": text("INSERT INTO audit " + COPY.format(9, "hash", 5)),
    "fork": text("INSERT INTO audit " + COPY.format(6, "previous", 5)),
    "forget checkpoints": delete(audit_checkpoint),
    "alter checkpoints": update(audit_checkpoint).values(sequence=0),
}
UPSERT = "DO UPDATE SET actor = excluded.actor"
CHECKPOINTS = "SELECT number, side, 0, head, at_ms, envelope, kept_at_ms FROM audit_checkpoint"
ATTACKS_IN_WORDS_OF = {
    "sqlite": [
        "UPDATE OR REPLACE audit SET actor = 'person:eve' WHERE sequence = 2",
        "INSERT OR REPLACE INTO audit " + COPY.format(2, "previous", 2),
        "INSERT OR REPLACE INTO audit " + COPY.format(7, "previous", 2),
        "INSERT OR REPLACE INTO audit_checkpoint " + CHECKPOINTS,
    ],
    "postgresql": [
        f"INSERT INTO audit {COPY.format(2, 'previous', 2)} ON CONFLICT (sequence) {UPSERT}",
        f"INSERT INTO audit {COPY.format(7, 'previous', 2)} ON CONFLICT (previous) {UPSERT}",
        f"INSERT INTO audit_checkpoint {CHECKPOINTS} ON CONFLICT (number) DO UPDATE SET sequence = 0",
        "TRUNCATE audit",
        "TRUNCATE audit_checkpoint",
    ],
}
REFUSALS = ("append-only", "follows the last one", "never replaced")


def refuses(engine: Engine, attack: Executable) -> bool:
    with pytest.raises(StoreError) as refused, transaction(engine) as connection:
        connection.execute(attack)
    return any(words in str(refused.value.__cause__) for words in REFUSALS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_database_refuses_to_change_what_is_written(attack: str, engine: Engine, told: AuditLog) -> None:
    told.keep_checkpoint("site-a", checkpoint_of_site_a(3), key=SITE_KEY.verify_key, actor="c", at=NOW)
    before = list(told.lines())

    assert refuses(engine, ATTACKS[attack])

    assert list(told.lines()) == before
    assert len(told.checkpoints_of("site-a")) == 1


def test_no_words_of_its_own_make_a_database_replace_what_is_written(engine: Engine, told: AuditLog) -> None:
    told.keep_checkpoint("site-a", checkpoint_of_site_a(3), key=SITE_KEY.verify_key, actor="c", at=NOW)
    before = list(told.lines())

    for attack in ATTACKS_IN_WORDS_OF[engine.dialect.name]:
        assert refuses(engine, text(attack)), attack

    assert list(told.lines()) == before
    assert [kept.sequence for kept in told.checkpoints_of("site-a")] == [3]


def test_an_edit_by_somebody_who_drops_the_triggers_is_found(tmp_path: Path) -> None:
    log = AuditLog(open_coordinator_store(tmp_path))
    for actor, event in STORY:
        log.append(event, actor=actor, at=NOW)
    with sqlite3.connect(tmp_path / "coordinator.db") as connection:
        connection.execute("DROP TRIGGER audit_is_not_updated")
        connection.execute("UPDATE audit SET actor = 'person:eve' WHERE sequence = 3")
    connection.close()

    assert verify_chain(log.lines()) == Break(at=3, flaw=Flaw.CONTENT, confirmed=0)


def test_a_database_that_was_rewritten_whole_is_found_by_who_holds_its_checkpoint(tmp_path: Path) -> None:
    for folder in ("honest", "rewritten"):
        (tmp_path / folder).mkdir()
    honest = AuditLog(open_coordinator_store(tmp_path / "honest"))
    rewritten = AuditLog(open_coordinator_store(tmp_path / "rewritten"))
    other_side = AuditLog(open_store(sqlite_url(tmp_path / "site.db"), MIGRATIONS))
    for actor, event in STORY:
        honest.append(event, actor=actor, at=NOW)
        rewritten.append(event, actor=actor.replace("ada", "eve"), at=NOW)
    shown = honest.checkpoint(side="coordinator", key=KEY, at=NOW)

    found = other_side.keep_checkpoint("coordinator", shown, key=KEY.verify_key, actor="site-a", at=NOW)

    assert found is None
    kept = other_side.checkpoints_of("coordinator")
    assert isinstance(verify_against(honest.lines(), kept), Verified)
    assert isinstance(verify_chain(rewritten.lines()), Verified)
    assert verify_against(rewritten.lines(), kept) == Break(at=5, flaw=Flaw.REWRITTEN, confirmed=0)


# -- the exchange of checkpoints


def checkpoint_of_site_a(sequence: int, *, head: str = "a" * 64, at_ms: int = 1000, side: str = "site-a"):
    return sign_checkpoint(Checkpoint(side=side, sequence=sequence, head=head, at_ms=at_ms), SITE_KEY)


def test_a_checkpoint_vouches_for_all_that_is_written_so_far(log: AuditLog) -> None:
    empty = log.checkpoint(side="site-a", key=KEY, at=NOW)
    line = log.append(RunRunning(subject="run-1"), actor="site-a", at=NOW)
    one = log.checkpoint(side="site-a", key=KEY, at=NOW)

    assert open_checkpoint(empty, of="site-a", key=KEY.verify_key) == Checkpoint(
        side="site-a", sequence=0, head=GENESIS, at_ms=1_700_000_000_250
    )
    assert open_checkpoint(one, of="site-a", key=KEY.verify_key).head == line.hash


def test_a_checkpoint_is_kept_once_with_the_signature_that_proves_it(engine: Engine, log: AuditLog) -> None:
    given = checkpoint_of_site_a(3)

    for _ in range(2):
        assert log.keep_checkpoint("site-a", given, key=SITE_KEY.verify_key, actor="c", at=NOW) is None

    assert [kept.sequence for kept in log.checkpoints_of("site-a")] == [3]
    assert log.checkpoints_of("site-b") == []
    with transaction(engine) as connection:
        assert connection.execute(select(audit_checkpoint.c.envelope)).scalars().all() == [given.to_bytes()]
    (line,) = log.lines()
    assert (line.actor, line.name, line.subject, line.details["sequence"]) == (
        "c",
        "checkpoint.kept",
        "site-a",
        3,
    )


def test_a_forged_checkpoint_is_not_kept(log: AuditLog) -> None:
    with pytest.raises(TrustError):
        log.keep_checkpoint("site-a", checkpoint_of_site_a(3), key=KEY.verify_key, actor="c", at=NOW)

    assert log.checkpoints_of("site-a") == []


def test_a_checkpoint_of_another_side_is_not_kept(log: AuditLog) -> None:
    of_another = checkpoint_of_site_a(3, side="site-b")

    with pytest.raises(TrustError):
        log.keep_checkpoint("site-a", of_another, key=SITE_KEY.verify_key, actor="c", at=NOW)

    assert log.checkpoints_of("site-a") == log.checkpoints_of("site-b") == []


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (checkpoint_of_site_a(3, head="b" * 64, at_ms=2000), Contradiction.FORKED),
        (checkpoint_of_site_a(2, head="b" * 64, at_ms=2000), Contradiction.CUT),
    ],
    ids=["forked", "cut"],
)
def test_a_side_that_contradicts_itself_is_written_down_with_the_proof(
    second, expected: Contradiction, log: AuditLog
) -> None:
    keep = {"key": SITE_KEY.verify_key, "actor": "coordinator", "at": NOW}
    log.keep_checkpoint("site-a", checkpoint_of_site_a(3), **keep)

    assert log.keep_checkpoint("site-a", second, **keep) is expected
    assert log.keep_checkpoint("site-a", second, **keep) is None

    assert len(log.checkpoints_of("site-a")) == 2
    (line,) = (line for line in log.lines() if line.name == "audit.contradicted")
    assert (line.name, line.subject) == ("audit.contradicted", "site-a")
    assert line.details["reason"] == expected.value


def test_every_event_has_room_in_the_table() -> None:
    longest = audit.c.name.type.length  # type: ignore[attr-defined]
    assert all(len(name) <= longest for name in EVENTS)


def test_a_damaged_envelope_is_no_checkpoint(log: AuditLog) -> None:
    honest = checkpoint_of_site_a(3)
    damaged = type(honest)(
        payload_type=honest.payload_type,
        unverified_payload=honest.unverified_payload,
        key_id=honest.key_id,
        signature=bytes(64),
    )

    with pytest.raises(TamperedError):
        log.keep_checkpoint("site-a", damaged, key=SITE_KEY.verify_key, actor="c", at=NOW)

    assert log.checkpoints_of("site-a") == []
