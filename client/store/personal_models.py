"""The layers that a site has made its own, run by run; they are in its database alone and never leave it.

They were learnt from patients, so they go with them: a removal deletes those of every run that had used
what is removed (`client.store.examples`), and what was learnt while a removal came is not kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from client.store.schema import metadata, removal
from shared.errors import StoreError
from shared.store import transaction

personal_model = Table(
    "personal_model",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("weights_sha256", String(64), nullable=False, comment="final weights of the run, hex"),
    Column("data", String(128), nullable=False, comment="fingerprints of the parts it was made from"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("outcome", String(32), nullable=False),
    Column("epoch", Integer, nullable=False, comment="of the fine-tuning; 0 is before it"),
    Column("before", Float, comment="Dice on the validation part of what it began with; null if unknown"),
    Column("after", Float, comment="the same after that epoch"),
    Column("layers", LargeBinary, comment="safetensors; null where the published model is kept"),
    Column("sha256", String(64), comment="of the layers, hex"),
    CheckConstraint("(layers IS NULL) = (sha256 IS NULL)", name="layers_whole"),
)


class Outcome(StrEnum):
    """What a site uses after a run, and why."""

    OWN_LAYERS = "own layers"
    NOT_BETTER = "no epoch was better"
    TOO_FEW_IMAGES = "too few images"
    ASTRAY = "training went astray"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalModel:
    """What personalisation of a run's final weights came to at this site.

    Attributes
    ----------
    weights_sha256
        Of the final weights, which the layers belong to and to no others.
    data
        Fingerprint of the examples that it was made from.
    at
        Seconds since the Unix epoch.
    epoch, before, after
        See `client.training.personalisation.Personal`; the Dice is None where nothing was measured.
    layers
        safetensors bytes of the tensors that differ from the final weights; None where there are none.
    """

    run_id: str
    weights_sha256: str
    data: str
    at: float
    outcome: Outcome
    epoch: int = 0
    before: float | None = None
    after: float | None = None
    layers: bytes | None = None


class PersonalModels:
    """The personal models of one site."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def num_removals(self) -> int:
        """How often anybody was taken out of this site's data."""
        with transaction(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(removal)).scalar_one()

    def keep(self, model: PersonalModel, *, num_removals: int) -> bool:
        """Keep a model in the place of an earlier one of its run.

        Parameters
        ----------
        num_removals
            As it was before the model's examples were read. If it has grown, the model may have learnt from
            somebody who is gone: nothing is kept, and the answer is False.
        """
        row = {
            "run_id": model.run_id,
            "weights_sha256": model.weights_sha256,
            "data": model.data,
            "at": model.at,
            "outcome": model.outcome.value,
            "epoch": model.epoch,
            "before": model.before,
            "after": model.after,
            "layers": model.layers,
            "sha256": None if model.layers is None else hashlib.sha256(model.layers).hexdigest(),
        }
        # One statement: no removal can come between the look and the writing.
        unchanged = select(func.count()).select_from(removal).scalar_subquery() == num_removals
        values = select(*(literal(value, personal_model.c[name].type) for name, value in row.items()))
        written = insert(personal_model).from_select(list(row), values.where(unchanged))
        newest = {name: written.excluded[name] for name in row}
        with transaction(self._engine) as connection:
            kept = connection.execute(
                written.on_conflict_do_update(index_elements=["run_id"], set_=newest)
            ).rowcount
        return kept > 0

    def of_run(self, run_id: str) -> PersonalModel | None:
        """What a run came to here; None if nothing was made of it, or it is erased.

        Raises
        ------
        StoreError
            Its layers are not those that were kept.
        """
        query = select(personal_model).where(personal_model.c.run_id == run_id)
        with transaction(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        if row.layers is not None and hashlib.sha256(row.layers).hexdigest() != row.sha256:
            raise StoreError(
                "The layers that this site has made its own are damaged.",
                "Restore site.db from the backup of the home folder, or use the published model.",
            )
        return PersonalModel(
            run_id=row.run_id,
            weights_sha256=row.weights_sha256,
            data=row.data,
            at=row.at,
            outcome=Outcome(row.outcome),
            epoch=row.epoch,
            before=row.before,
            after=row.after,
            layers=row.layers,
        )
