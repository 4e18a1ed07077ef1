"""What models have drawn, by keyed hashes alone, so that it is not taken for a reader's work."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.dialects.sqlite import insert

from client.store.schema import draft
from shared.store import transaction


class Drafts:
    """The drafts of one site; a withdrawal takes those of its patient's examples out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, source: str, labels: str) -> None:
        """Note that a model has drawn a label map of this keyed hash for a source."""
        with transaction(self._engine) as connection:
            connection.execute(insert(draft).values(source=source, labels=labels).on_conflict_do_nothing())

    def of(self, source: str) -> frozenset[str]:
        """Keyed hashes of the label maps that models have drawn for a source."""
        with transaction(self._engine) as connection:
            return frozenset(
                connection.execute(select(draft.c.labels).where(draft.c.source == source)).scalars()
            )
