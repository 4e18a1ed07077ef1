"""The migrations of both roles, held against the schemas that the code declares."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect, text

import client.store.opening
import client.store.schema
import server.store.opening
import server.store.schema
from shared.errors import ConfigError, StoreError
from shared.store import newest_revision, open_store, require_revision, rewind, sqlite_url

ROLES = {
    "coordinator": (server.store.opening.MIGRATIONS, server.store.schema.metadata),
    "site": (client.store.opening.MIGRATIONS, client.store.schema.metadata),
}
for store in (client.store, server.store):  # tables are declared beside what reads them
    for module in pkgutil.iter_modules(store.__path__, f"{store.__name__}."):
        importlib.import_module(module.name)


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> tuple[Path, MetaData]:
    return ROLES[request.param]


def checks_of(url: str) -> dict[str, set[tuple[str | None, str]]]:
    inspector = inspect(create_engine(url))
    return {
        table: {
            (check["name"], re.sub(r"\s+", " ", check["sqltext"]))
            for check in inspector.get_check_constraints(table)
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_migrations_lead_to_exactly_the_declared_schema(role: tuple[Path, MetaData], tmp_path: Path) -> None:
    migrations, metadata = role
    engine = open_store(sqlite_url(tmp_path / "migrated.db"), migrations)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_carry_every_declared_check(role: tuple[Path, MetaData], tmp_path: Path) -> None:
    migrations, metadata = role
    open_store(sqlite_url(tmp_path / "migrated.db"), migrations).dispose()
    declared = sqlite_url(tmp_path / "declared.db")
    metadata.create_all(create_engine(declared))

    assert checks_of(sqlite_url(tmp_path / "migrated.db")) == checks_of(declared)


def test_migrations_go_all_the_way_back_and_forth_again(role: tuple[Path, MetaData], tmp_path: Path) -> None:
    migrations, metadata = role
    engine = open_store(sqlite_url(tmp_path / "store.db"), migrations)
    config = Config()
    config.set_main_option("script_location", str(migrations))

    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
        command.upgrade(config, "head")
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_opening_again_keeps_what_is_there(role: tuple[Path, MetaData], tmp_path: Path) -> None:
    migrations, metadata = role
    url = sqlite_url(tmp_path / "store.db")
    engine = open_store(url, migrations)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE keepsake (word TEXT)"))
    engine.dispose()

    with open_store(url, migrations).connect() as connection:
        assert "keepsake" in inspect(connection).get_table_names()
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    assert metadata.tables


def test_a_store_of_a_newer_version_is_refused_and_left_alone(
    role: tuple[Path, MetaData], tmp_path: Path
) -> None:
    migrations, _ = role
    file = tmp_path / "store.db"
    open_store(sqlite_url(file), migrations).dispose()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StoreError):
        open_store(sqlite_url(file), migrations)

    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


@pytest.mark.parametrize("content", [b"not a database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(
    content: bytes, role: tuple[Path, MetaData], tmp_path: Path
) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(content)

    with pytest.raises(StoreError):
        open_store(sqlite_url(file), role[0])

    assert file.read_bytes() == content


def test_a_store_in_a_folder_that_is_not_there_is_refused(
    role: tuple[Path, MetaData], tmp_path: Path
) -> None:
    with pytest.raises(StoreError):
        open_store(sqlite_url(tmp_path / "missing" / "store.db"), role[0])


def test_a_store_goes_back_to_an_older_schema_and_forward_again_with_its_rows(
    role: tuple[Path, MetaData], tmp_path: Path
) -> None:
    migrations, _ = role
    url, newest = sqlite_url(tmp_path / "store.db"), newest_revision(migrations)
    before = f"{int(newest) - 1:04d}"
    engine = open_store(url, migrations)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE keepsake (word TEXT)"))
        connection.execute(text("INSERT INTO keepsake VALUES ('kept')"))
    engine.dispose()

    require_revision(migrations, before)
    rewind(url, migrations, before)

    with create_engine(url).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == before
    with open_store(url, migrations).connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == newest
        assert connection.execute(text("SELECT word FROM keepsake")).scalar_one() == "kept"


@pytest.mark.parametrize("revision", ["9999", "", "base", "0001; DROP TABLE site"])
def test_a_schema_that_this_version_does_not_know_is_refused(
    revision: str, role: tuple[Path, MetaData]
) -> None:
    with pytest.raises(ConfigError, match="does not know that schema"):
        require_revision(role[0], revision)
