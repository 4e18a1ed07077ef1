"""Processes that append to one log."""

from __future__ import annotations

import itertools
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select

from server.store.opening import open_coordinator_store
from shared.audit.events import RunRunning
from shared.audit.log import AuditLog, append
from shared.audit.schema import audit
from shared.persons.schema import person
from shared.store import transaction


def append_lines(folder: Path, database: SecretStr | None, writer: str, count: int | None) -> None:
    """Append so many lines, or without end: each second one within a transaction that has read before."""
    engine = open_coordinator_store(folder, database)
    for number in itertools.count() if count is None else range(count):
        event = RunRunning(subject=f"run-{number}")
        if number % 2:
            AuditLog(engine).append(event, actor=writer, at=1.0)
        else:
            with transaction(engine) as connection:
                connection.execute(select(audit.c.hash)).all()
                connection.execute(select(person)).first()
                append(connection, event, actor=writer, at=1.0)
