"""The coordinator's trail, as its registers write it, and as older homes had it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Engine, inspect, text

from server.lifecycle import RunState
from server.store import Federation, Run, Runs, open_coordinator_store
from server.store.audit import AuditLog
from server.store.opening import MIGRATIONS
from shared.audit.chain import Verified, verify_chain
from shared.errors import StoreError

NOW = 1_700_000_000.0
RUN = Run(
    run_id="run-1",
    name="density",
    plan_sha256="a" * 64,
    plan_toml="",
    state=RunState.SUBMITTED,
    created_at=NOW,
)


@pytest.fixture
def engine(tmp_path: Path, database: SecretStr | None) -> Engine:
    return open_coordinator_store(tmp_path, database)


def test_what_the_registers_do_is_in_the_chain(engine: Engine) -> None:
    Runs(engine).submit(RUN, actor="local:ada")
    Runs(engine).move("run-1", RunState.RUNNING, at=NOW + 1)

    lines = list(AuditLog(engine).lines())

    assert [(line.actor, line.name, line.subject) for line in lines] == [
        ("local:ada", "run.submitted", "run-1"),
        ("coordinator", "run.running", "run-1"),
    ]
    assert verify_chain(lines) == Verified(sequence=2, head=lines[1].hash)


def test_what_cannot_be_written_down_is_not_done(engine: Engine) -> None:
    with pytest.raises(StoreError):
        Runs(engine).submit(dataclasses.replace(RUN, plan_sha256="/etc/passwd"), actor="local:ada")
    with pytest.raises(StoreError):
        Federation(engine).invite(
            secret_hash="b" * 64,
            site_id="site-a",
            site_name="DOE^JANE",
            now=NOW,
            expires_at=NOW + 1,
            actor="local:ada",
        )

    assert Runs(engine).all() == []
    assert list(AuditLog(engine).lines()) == []


def test_the_trail_of_an_older_home_begins_its_log(tmp_path: Path, database: SecretStr | None) -> None:
    engine = open_coordinator_store(tmp_path, database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        for number, name in ((3, "coordinator.founded"), (8, "run.submitted")):
            connection.execute(
                text("INSERT INTO event VALUES (:id, 1.5, 'Åse', :name, 'it', :details)"),
                {"id": number, "name": name, "details": '{"list": ["a"], "old": "any text / of then"}'},
            )
    engine.dispose()

    engine = open_coordinator_store(tmp_path, database)

    lines = list(AuditLog(engine).lines())
    assert [(line.sequence, line.at_ms, line.actor, line.name) for line in lines] == [
        (1, 1500, "Åse", "coordinator.founded"),
        (2, 1500, "Åse", "run.submitted"),
    ]
    assert lines[0].details == {"list": ["a"], "old": "any text / of then"}
    assert isinstance(verify_chain(lines), Verified)
    assert "event" not in inspect(engine).get_table_names()
