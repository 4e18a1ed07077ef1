"""Persons' identities at a provider of OpenID Connect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "outside_identity",
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("claim", sa.String(8), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("bound_at", sa.Float(), nullable=False),
        sa.CheckConstraint("claim IN ('sub', 'email')", name=op.f("ck_outside_identity_claim_known")),
        sa.ForeignKeyConstraint(["person"], ["person.name"], name=op.f("fk_outside_identity_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_outside_identity")),
        sa.UniqueConstraint("issuer", "claim", "value", name=op.f("uq_outside_identity_issuer")),
    )


def downgrade() -> None:
    """Drop it: persons sign in by their passwords."""
    op.drop_table("outside_identity")
