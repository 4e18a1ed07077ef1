"""Triggers that let the tables of the audit log grow, and nothing else, in each database.

They stop mistakes and casual edits. Whoever owns the database can drop them; the other side's checkpoints are
what finds that out. Never edited: a change is a new function.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text

_SQLITE = (
    # INSERT OR REPLACE deletes what is in its way without asking the triggers of DELETE: a line may only come
    # after the last one, a checkpoint only where none is.
    """
    CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
        OR NEW.previous IS NOT
            coalesce((SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1), printf('%064d', 0))
    BEGIN SELECT RAISE(ABORT, 'a line of the audit log follows the last one'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_new BEFORE INSERT ON audit_checkpoint
    WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'a checkpoint is never replaced'); END
    """,
    """
    CREATE TRIGGER audit_is_not_updated BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_not_updated BEFORE UPDATE ON audit_checkpoint
    BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_not_deleted BEFORE DELETE ON audit_checkpoint
    BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END
    """,
)

_POSTGRESQL = (
    """
    CREATE FUNCTION audit_grows_at_its_end() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.sequence IS DISTINCT FROM (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
            OR NEW.previous IS DISTINCT FROM
                coalesce((SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1), repeat('0', 64))
        THEN
            RAISE EXCEPTION 'a line of the audit log follows the last one';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
    """,
    """
    CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_grows_at_its_end()
    """,
    *(
        f"CREATE TRIGGER {table}_{name} BEFORE {change} ON {table}"
        f" FOR EACH {each} EXECUTE FUNCTION audit_refuses()"
        for table in ("audit", "audit_checkpoint")
        for name, change, each in (
            ("is_not_changed", "UPDATE OR DELETE", "ROW"),
            ("is_not_emptied", "TRUNCATE", "STATEMENT"),
        )
    ),
)

_TRIGGERS: Mapping[str, tuple[str, ...]] = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "sqlite": (),
    "postgresql": ("audit_grows_at_its_end", "audit_refuses"),
}


def create_triggers(connection: Connection) -> None:
    """Make the triggers of tables that were just made."""
    for statement in _TRIGGERS[connection.dialect.name]:
        connection.execute(text(statement))


def drop_functions(connection: Connection) -> None:
    """Drop what stays of the triggers when their tables are gone."""
    for name in _FUNCTIONS[connection.dialect.name]:
        connection.execute(text(f"DROP FUNCTION {name}()"))
