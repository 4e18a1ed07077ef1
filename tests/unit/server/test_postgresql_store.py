"""A coordinator whose state is in PostgreSQL: its schema, its writers, its secret, and a whole run."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import inspect, update
from typer.testing import CliRunner

import server.store.audit
from server.cli import app
from server.coordinator import Coordinator
from server.enrolment import EnrolledSite, SiteKeys
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.lifecycle import RunState
from server.store import AuditLog, Federation, Run, Runs, open_coordinator_store
from server.store.opening import MIGRATIONS
from server.store.schema import metadata, run
from shared.audit.chain import Verified, verify_chain
from shared.audit.events import RunRunning
from shared.enrolment.refusal import Refusal
from shared.errors import AggregationError, ConfigError, HomeError, StoreError
from shared.files import write_file
from shared.package import WEIGHTS
from shared.store import transaction
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr
from tests.postgresql import PASSWORD, Postgresql
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation, small_plan

NOW = 1_700_000_000.0
SECRET = "hunter2"


@pytest.fixture
def address(postgresql: Postgresql) -> Iterator[SecretStr]:
    with postgresql.new_database() as address:
        yield address


@pytest.fixture
def address_file(tmp_path: Path, address: SecretStr) -> Path:
    write_file(tmp_path / "database", address.get_secret_value().encode() + b"\n")
    return tmp_path / "database"


def settings(file: Path) -> CoordinatorSettings:
    return CoordinatorSettings(name="Test", database_file=str(file))


def founded(folder: Path, file: Path) -> CoordinatorHome:
    home = CoordinatorHome(folder)
    found(home, settings(file), now=NOW, actor="test")
    return home


# -- the schema


def test_migrations_lead_to_exactly_the_declared_schema(tmp_path: Path, address: SecretStr) -> None:
    with open_coordinator_store(tmp_path, address).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_go_all_the_way_back_and_forth_again(tmp_path: Path, address: SecretStr) -> None:
    engine = open_coordinator_store(tmp_path, address)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
        command.upgrade(config, "head")
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_an_empty_database_that_several_open_at_once_is_made_once(tmp_path: Path, address: SecretStr) -> None:
    with ThreadPoolExecutor(4) as processes:
        engines = list(processes.map(lambda _: open_coordinator_store(tmp_path, address), range(4)))

    for engine in engines:
        AuditLog(engine).append(RunRunning(subject="run-1"), actor="coordinator", at=NOW)
    assert len(list(AuditLog(engines[0]).lines())) == 4


# -- who writes at once


def test_one_invitation_used_by_several_at_once_enrols_one_site(tmp_path: Path, address: SecretStr) -> None:
    engine = open_coordinator_store(tmp_path, address)
    Federation(engine).invite(
        secret_hash="a" * 64,
        site_id="site-a",
        site_name="aarhus",
        now=NOW,
        expires_at=NOW + 60,
        actor="test",
    )

    def enrol(_: int) -> EnrolledSite | Refusal:
        keys = SiteKeys(
            csr_pem=new_csr(TlsKey.generate()),
            signing_key=SigningKey.generate().verify_key,
            node_key=NodeKey.generate().public,
            software_version="0.1.0",
        )
        return Federation(engine).enrol(
            secret_hash="a" * 64, now=NOW, keys=keys, issue=lambda _site_id: b"certificate"
        )

    with ThreadPoolExecutor(4) as hospitals:
        said = list(hospitals.map(enrol, range(4)))

    assert sum(isinstance(each, EnrolledSite) for each in said) == 1
    assert said.count(Refusal.USED_TOKEN) == 3
    assert isinstance(verify_chain(AuditLog(engine).lines()), Verified)


def test_who_waits_for_the_write_lock_sees_what_was_written_before(
    tmp_path: Path, address: SecretStr
) -> None:
    engine = open_coordinator_store(tmp_path, address)
    Runs(engine).submit(
        Run(
            run_id=RUN_ID,
            name="test",
            plan_sha256="a" * 64,
            plan_toml="",
            state=RunState.SUBMITTED,
            created_at=NOW,
        ),
        actor="test",
    )

    with ThreadPoolExecutor(1) as other_process:
        with transaction(engine) as connection:
            server.store.audit.append(connection, RunRunning(subject=RUN_ID), actor="coordinator", at=NOW)
            waiting = other_process.submit(Runs(engine).move, RUN_ID, RunState.RUNNING, at=NOW)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            connection.execute(update(run).values(state=RunState.RUNNING))
        with pytest.raises(AggregationError):
            waiting.result(timeout=30)

    assert [line.name for line in AuditLog(engine).lines()] == ["run.submitted", "run.running"]


def test_a_transaction_that_only_reads_is_not_held_up_by_one_that_writes(
    tmp_path: Path, address: SecretStr
) -> None:
    engine = open_coordinator_store(tmp_path, address)

    with transaction(engine) as connection:
        server.store.audit.append(connection, RunRunning(subject="run-1"), actor="coordinator", at=NOW)
        assert list(AuditLog(engine).lines()) == []

    assert len(list(AuditLog(engine).lines())) == 1


def test_connections_that_the_server_has_ended_are_made_anew(
    tmp_path: Path, address: SecretStr, postgresql: Postgresql
) -> None:
    log = AuditLog(open_coordinator_store(tmp_path, address))
    log.append(RunRunning(subject="run-1"), actor="coordinator", at=NOW)

    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test_%'")

    log.append(RunRunning(subject="run-2"), actor="coordinator", at=NOW)
    assert [line.subject for line in log.lines()] == ["run-1", "run-2"]


# -- databases that are not usable


@pytest.mark.parametrize(
    "options",
    [
        "TEMPLATE template0 ENCODING 'SQL_ASCII'",
        "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
    ],
    ids=["not in UTF-8", "in the order of a language"],
)
def test_a_database_that_would_keep_texts_otherwise_is_refused_and_left_empty(
    options: str, tmp_path: Path, postgresql: Postgresql
) -> None:
    with postgresql.new_database(options) as address:
        with pytest.raises(ConfigError, match="order of their bytes"):
            open_coordinator_store(tmp_path, address)
        with pytest.raises(ConfigError, match="order of their bytes"):
            open_coordinator_store(tmp_path, address)  # the refusal has made no table either


def test_the_database_of_a_federation_is_no_place_for_a_second_one(
    tmp_path: Path, address_file: Path
) -> None:
    first = founded(tmp_path / "first", address_file)
    before = list(Coordinator.open(first).audit.lines())

    with pytest.raises(HomeError, match="holds a federation already"):
        founded(tmp_path / "second", address_file)

    assert list(Coordinator.open(first).audit.lines()) == before
    assert not CoordinatorHome(tmp_path / "second").settings_file.exists()


# -- the secret


def everything_told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_password_that_is_refused_is_in_no_message_and_no_log(
    tmp_path: Path, postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    with pytest.raises(StoreError) as refused:
        open_coordinator_store(tmp_path, postgresql.address("postgres", password=SECRET))

    assert SECRET not in everything_told(refused.value) + caplog.text


def test_a_server_that_is_not_there_is_told_as_such_and_nothing_is_made_instead(tmp_path: Path) -> None:
    nowhere = SecretStr(f"postgresql://owner:{SECRET}@/name?host={tmp_path}")

    with pytest.raises(StoreError) as refused:
        open_coordinator_store(tmp_path, nowhere)

    assert "PostgreSQL runs" in refused.value.hint
    assert SECRET not in everything_told(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"mysql://owner:hunter2@host/name",
        b"postgresql://owner:hunter2@host",
        b"postgresql://owner:hunter2@[host/name",
        b"postgresql://owner:hunter2@host:port/name",
        b"postgresql://owner:hunter2@host/name?no_such_setting=1",
        b"postgresql://owner:hunter2@host/name\nsecond line",
        b"hunter2",
        b"",
        b"\xffhunter2",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_quoted(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "database"
    write_file(file, content)

    with pytest.raises((ConfigError, StoreError)) as refused:
        founded(tmp_path / "home", file)

    assert SECRET not in everything_told(refused.value) + caplog.text
    assert not (tmp_path / "home" / "coordinator.toml").exists()
    assert not (tmp_path / "home" / "coordinator.db").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_an_address_that_others_may_read_is_not_used(mode: int, tmp_path: Path, address_file: Path) -> None:
    home = founded(tmp_path / "home", address_file)
    address_file.chmod(mode)

    with pytest.raises(ConfigError, match="open to other users"):
        Coordinator.open(home)


def test_a_file_of_the_address_that_is_gone_makes_no_new_store_in_the_home(
    tmp_path: Path, address_file: Path
) -> None:
    home = founded(tmp_path / "home", address_file)
    address_file.unlink()

    with pytest.raises(ConfigError, match="cannot be read"):
        Coordinator.open(home)

    assert not (home.folder / "coordinator.db").exists()


# -- from the terminal, and through a run


def test_commands_use_the_database_that_init_was_given(tmp_path: Path, address_file: Path) -> None:
    home = tmp_path / "home"

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--home", str(home)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    said = call("init", "--name", "Test", "--database-file", str(address_file))
    said += call("site", "invite", "aarhus")
    names = [line["event"] for line in json.loads(call("audit", "show", "--json"))]

    assert names == ["coordinator.founded", "site.invited"]
    assert not (home / "coordinator.db").exists()
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert PASSWORD.encode() not in kept
    assert PASSWORD not in said


def test_a_run_comes_to_the_same_model_as_over_sqlite(tmp_path: Path, address_file: Path) -> None:
    def weights_of_run(name: str, file: Path | None) -> str:
        federation = SimulatedFederation(tmp_path / name, small_plan(2), database_file=file)
        federation.run()
        federation.resume()
        coordinator = federation.coordinator
        assert federation.state is RunState.FINISHED
        assert isinstance(verify_chain(coordinator.audit.lines()), Verified)
        assert (tmp_path / name / "coordinator.db").exists() is (file is None)
        model = coordinator.models.of_run(RUN_ID)
        assert model is not None
        (weights,) = (each for each in coordinator.models.files(model.model_id) if each.name == WEIGHTS)
        coordinator.blobs.verify(weights.blob)
        return weights.blob.digest

    assert weights_of_run("postgresql", address_file) == weights_of_run("sqlite", None)
