"""Whose updates this site has let be added up in each round: one set of sites, and one update of its own.

Were it two, the sums would differ by single updates. So it is written down before a signature leaves, and
holds over all attempts at a round and whatever happens to either side's processes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.dialects.sqlite import insert

from client.store.audit import append
from client.store.schema import survivors
from shared.audit.events import SumSigned
from shared.errors import MaskingError
from shared.records import Occasion
from shared.store import transaction


class SignedSurvivors:
    """Reads and writes the register."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def bind(
        self,
        occasion: Occasion,
        site_ids: Sequence[str],
        *,
        update_sha256: str,
        key_ids: Sequence[str],
        at: float,
    ) -> None:
        """Settle on these survivors for a round, if nothing else was settled before.

        Parameters
        ----------
        key_ids
            Signing keys of all that took part in the masking, for the audit log.

        Raises
        ------
        MaskingError
            In this round a sum over other sites, or with another update of this one, may have been read.
        """
        key = {
            "run_id": occasion.run_id,
            "round_number": occasion.round_number,
            "base_sha256": occasion.base_digest,
        }
        wanted = {"site_ids": json.dumps(list(site_ids)), "update_sha256": update_sha256}
        with transaction(self._engine) as connection:
            connection.execute(insert(survivors).values(**key, **wanted, at=at).on_conflict_do_nothing())
            query = select(*(survivors.c[name] for name in wanted)).where(
                *(survivors.c[name] == value for name, value in key.items())
            )
            settled = dict(connection.execute(query).mappings().one())
            if settled == wanted:
                event = SumSigned(
                    subject=occasion.run_id,
                    number=occasion.round_number,
                    attempt=occasion.attempt,
                    phase=occasion.phase,
                    sites=tuple(site_ids),
                    keys=tuple(key_ids),
                )
                append(connection, event, actor=occasion.site_id, at=at)
        if settled != wanted:
            raise MaskingError(
                "A second sum of one round was asked for, which beside the first would tell single updates.",
                "Tell the coordinator: the round can only be finished with the sites that it named first.",
            )
