"""The state of a strategy beside the weights of a round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.store import BIG_INTEGER

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = ("base_state", "aggregate_state")


def upgrade() -> None:
    """Add its digests and sizes, one by one: rebuilding `round` would orphan the answers that refer to it."""
    for name in COLUMNS:
        op.add_column("round", sa.Column(f"{name}_digest", sa.String(length=64), nullable=True))
        op.add_column("round", sa.Column(f"{name}_bytes", BIG_INTEGER, nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name in COLUMNS:
        op.drop_column("round", f"{name}_bytes")
        op.drop_column("round", f"{name}_digest")
