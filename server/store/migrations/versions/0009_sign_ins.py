"""Passwords of persons, and who is signed in to the console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "password",
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("encoded", sa.String(255), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.name"], name=op.f("fk_password_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_password")),
    )
    op.create_table(
        "sign_in",
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("person", sa.String(63), nullable=False),
        sa.Column("begun_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.name"], name=op.f("fk_sign_in_person_person")),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_sign_in")),
    )


def downgrade() -> None:
    """Drop them: an older version has no console."""
    op.drop_table("sign_in")
    op.drop_table("password")
