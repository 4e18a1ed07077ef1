"""Entry of alembic."""

from shared.store.migration import migrate

migrate()
