"""The audit log, the coordinator's checkpoints of its own, and persons."""

from __future__ import annotations

from alembic import op

import shared.audit.schema
import shared.persons.schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    connection = op.get_bind()
    shared.audit.schema.create_first_version(connection)
    shared.persons.schema.create_first_version(connection)


def downgrade() -> None:
    """Drop them."""
    connection = op.get_bind()
    shared.persons.schema.drop_first_version(connection)
    shared.audit.schema.drop_first_version(connection)
