"""The site's log in the site's store, beside what else is in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect

from client.store.audit import AuditLog
from client.store.opening import MIGRATIONS
from client.store.schema import metadata
from shared.audit.chain import Verified, verify_chain
from shared.audit.events import DataImported
from shared.store import open_store, sqlite_url


def test_a_site_writes_down_what_it_did_and_finds_it_after_a_restart(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "site.db")
    first = open_store(url, MIGRATIONS)
    event = DataImported(subject="images", num_examples=40, num_masks=0, num_left_out=2)
    AuditLog(first).append(event, actor="local:ada", at=1.0)
    first.dispose()

    again = open_store(url, MIGRATIONS)

    (line,) = AuditLog(again).lines()
    assert line.details == {"num_examples": 40, "num_masks": 0, "num_left_out": 2}
    assert isinstance(verify_chain([line]), Verified)
    assert {"audit", "audit_checkpoint", "person"} <= set(inspect(again).get_table_names())
    assert {"audit", "audit_checkpoint", "person"} <= set(metadata.tables)
