"""The examples that models are measured on, as an evaluation needs to know them."""

from __future__ import annotations

from sqlalchemy import Engine, select

from client.store.parts import Part
from client.store.schema import example, patient
from shared.store import transaction


class LabelledExamples:
    """The examples of one site that have a mask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def patients(self, part: Part) -> dict[str, str]:
        """The pseudonym of the patient of each example of a part, by the example's id."""
        query = (
            select(example.c.example_id, example.c.patient)
            .join(patient)
            .where(example.c.dense_px.is_not(None), patient.c.part == part.value)
        )
        with transaction(self._engine) as connection:
            return {row.example_id: row.patient for row in connection.execute(query)}
