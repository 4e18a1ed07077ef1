"""What sites tell of themselves outside of runs: the last signed situation of each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, insert, select, update

from server.store.consents import is_news, take_write_lock
from server.store.schema import situation
from shared.consent.records import Situation
from shared.store import transaction


class Situations:
    """The register of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, told: Situation, *, envelope: bytes, at: float) -> None:
        """In the place of the one before; the same one again changes nothing.

        Raises
        ------
        TrustError
            It is older than the one kept.
        """
        values = {"number": told.number, "payload": told.to_bytes(), "envelope": envelope, "told_at": at}
        of_site = situation.c.site_id == told.site_id
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            row = connection.execute(select(situation).where(of_site)).mappings().one_or_none()
            if row is None:
                connection.execute(insert(situation).values(site_id=told.site_id, **values))
            elif is_news(row, told.number, envelope):
                connection.execute(update(situation).where(of_site).values(**values))

    def told(self) -> Mapping[str, Situation]:
        """By site id; a site that tells nothing, or nothing any more, is left out."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(situation.c.site_id, situation.c.payload)).all()
        read = {row.site_id: Situation.from_bytes(row.payload) for row in rows}
        return {site_id: each for site_id, each in read.items() if each.is_told}
