"""What the hospital knows of its patients beside their images, under their pseudonyms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Engine, delete, func, insert, select

from client.followup.clinical import ClinicalInputs
from client.store.audit import append
from client.store.examples import is_withdrawn
from client.store.schema import clinical
from shared.audit.events import ClinicalInputsAdded
from shared.audit.log import take_write_lock
from shared.store import clear_journal, transaction

NAMES = tuple(field.name for field in fields(ClinicalInputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of a table: numbers."""

    num_patients: int
    num_withdrawn: int


class Clinical:
    """The table of one site."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, told: Mapping[str, ClinicalInputs], *, actor: str, at: float) -> Added:
        """Keep inputs by pseudonym, in the place of what was known; of who has withdrawn nothing is kept."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            kept = {who: one for who, one in told.items() if not is_withdrawn(connection, who)}
            for patient, inputs in kept.items():
                connection.execute(delete(clinical).where(clinical.c.patient == patient))
                connection.execute(insert(clinical).values(patient=patient, added_at=at, **asdict(inputs)))
            event = ClinicalInputsAdded(subject="clinical", num_patients=len(kept))
            append(connection, event, actor=actor, at=at)
        return Added(num_patients=len(kept), num_withdrawn=len(told) - len(kept))

    def find(self, patient: str) -> ClinicalInputs | None:
        """Of a patient by pseudonym; None if nothing is known."""
        query = select(*(clinical.c[name] for name in NAMES)).where(clinical.c.patient == patient)
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else ClinicalInputs(**row)

    def remove(self, patient: str | None) -> int:
        """Forget a patient, or everybody; how many were known."""
        gone = delete(clinical)
        if patient is not None:
            gone = gone.where(clinical.c.patient == patient)
        with transaction(self._engine) as connection:
            num_gone = connection.execute(gone).rowcount
        clear_journal(self._engine)  # which would still have them
        return num_gone

    def num_patients(self) -> int:
        """Of whom anything is known."""
        with transaction(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(clinical)).scalar_one()
