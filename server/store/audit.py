"""What is written down at the coordinator, and by whom: the tables are those of every role."""

from __future__ import annotations

from server.store.schema import metadata
from shared.audit.log import AuditLog, append
from shared.audit.schema import declare_audit
from shared.persons.register import Persons
from shared.persons.schema import declare_persons

__all__ = ["COORDINATOR", "AuditLog", "Persons", "append"]

COORDINATOR = "coordinator"
"""Who acts where no person and no site does."""

declare_audit(metadata)
declare_persons(metadata)
