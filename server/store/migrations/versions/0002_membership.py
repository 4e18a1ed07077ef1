"""Approval by hand, withdrawn invitations, and what a site's renewal leaves valid for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INVITATION_COLUMNS = ("withdrawn_at", "by_hand")
SITE_COLUMNS = (
    "renewed_at",
    "certificate_seen",
    "previous_certificate_pem",
    "previous_signing_public_key",
    "next_node_public_key",
    "next_node_id",
)


def upgrade() -> None:
    """Columns are added one by one: rebuilding `site` would orphan the answers that refer to it."""
    op.add_column("invitation", sa.Column("withdrawn_at", sa.Float(), nullable=True))
    op.add_column("invitation", sa.Column("by_hand", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("site", sa.Column("renewed_at", sa.Float(), nullable=True))
    op.add_column(
        "site", sa.Column("certificate_seen", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("site", sa.Column("previous_certificate_pem", sa.LargeBinary(), nullable=True))
    op.add_column("site", sa.Column("previous_signing_public_key", sa.LargeBinary(), nullable=True))
    op.add_column("site", sa.Column("next_node_public_key", sa.Text(), nullable=True))
    op.add_column("site", sa.Column("next_node_id", sa.String(length=20), nullable=True))
    op.create_table(
        "application",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("csr_pem", sa.LargeBinary(), nullable=False),
        sa.Column("signing_public_key", sa.LargeBinary(), nullable=False),
        sa.Column("node_public_key", sa.Text(), nullable=False),
        sa.Column("software_version", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_hash"],
            ["invitation.secret_hash"],
            name=op.f("fk_application_secret_hash_invitation"),
        ),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_application")),
        sa.CheckConstraint("state IN ('pending', 'rejected')", name=op.f("ck_application_state")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("application")
    for name in SITE_COLUMNS:
        op.drop_column("site", name)
    for name in INVITATION_COLUMNS:
        op.drop_column("invitation", name)
