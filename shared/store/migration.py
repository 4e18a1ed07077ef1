"""What every role's alembic `env.py` does: migrate over the connection that `open_store` holds."""

from __future__ import annotations

from alembic import context


def migrate() -> None:
    """Run the migrations that alembic selected."""
    context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
