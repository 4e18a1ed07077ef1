"""A ledger of an older home keeps its lines."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, text

from client.store.ledger import Ledger
from client.store.opening import MIGRATIONS, open_site_store


def downgrade(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_older_lines_stay_in_their_order_and_say_that_no_rule_was_written_down(tmp_path: Path) -> None:
    engine = open_site_store(tmp_path)
    downgrade(engine, "0002")
    with engine.begin() as connection:
        for number, kind in ((1, "update"), (2, "contribution")):
            connection.execute(
                text("INSERT INTO ledger VALUES (:number, 5.5, 'run-1', 3, 1, 'train', :kind, 40, 99, :sha)"),
                {"number": number, "kind": kind, "sha": "a" * 64},
            )
    engine.dispose()

    lines = Ledger(open_site_store(tmp_path)).lines(run_id="run-1")

    assert [(line.number, line.kind, line.round_number, line.size_bytes) for line in lines] == [
        (1, "update", 3, 99),
        (2, "contribution", 3, 99),
    ]
    assert {line.rule for line in lines} == {"not written down"}
    downgrade(open_site_store(tmp_path), "0002")
    assert "tensors" in {column["name"] for column in inspect(engine).get_columns("ledger")}
