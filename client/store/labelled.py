"""The examples that models are measured on, as an evaluation needs to know them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from client.store.parts import Part
from client.store.schema import example, mask, patient
from shared.bands import Band
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledExample:
    """An example that has a mask or a reader's category.

    Attributes
    ----------
    patient
        Pseudonym.
    mask
        Number of its newest mask; None without one.
    category
        A reader's density category; None if it is not known.
    """

    example_id: str
    patient: str
    mask: int | None
    category: Band | None

    @property
    def image(self) -> str:
        """This picture with these labels."""
        return f"{self.example_id} {self.mask or '-'} {self.category or '-'}"


class LabelledExamples:
    """The examples of one site that have a mask or a reader's category."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, part: Part) -> dict[str, LabelledExample]:
        """Those of a part, by id."""
        query = (
            select(example.c.example_id, example.c.patient, func.max(mask.c.number), example.c.density)
            .join(patient)
            .outerjoin(mask)
            .where(
                example.c.dense_px.is_not(None) | example.c.density.is_not(None),
                patient.c.part == part.value,
            )
            .group_by(example.c.number)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return {
            example_id: LabelledExample(
                example_id=example_id, patient=whose, mask=newest_mask, category=category
            )
            for example_id, whose, newest_mask, category in rows
        }
