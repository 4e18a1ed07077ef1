"""The statements on patients and examples: the one module of SQL of the catalog."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, Table, func, insert, select

from client.store.parts import Part, next_part
from client.store.schema import example as examples
from client.store.schema import patient as patients


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """What the store knows of an example; the columns are described in the schema."""

    example_id: str
    patient: str
    source: str
    sha256: str
    height: int
    width: int
    row_mm: float | None
    column_mm: float | None
    view: str | None
    laterality: str | None
    manufacturer: str | None
    adipose_px: int
    dense_px: int
    pectoral_px: int
    added_at: float


def part_of(connection: Connection, patient: str) -> Part:
    """The part of a patient, assigned now if the patient is new."""
    known = connection.execute(select(patients.c.part).where(patients.c.pseudonym == patient)).scalar()
    if known is not None:
        return Part(known)
    counted = connection.execute(select(patients.c.part, func.count()).group_by(patients.c.part))
    part = next_part({Part(name): count for name, count in counted})
    connection.execute(insert(patients).values(pseudonym=patient, part=part.value))
    return part


def insert_example(connection: Connection, row: ExampleRow) -> None:
    """Add an example of a known patient."""
    connection.execute(insert(examples).values(asdict(row)))


def has_source(connection: Connection, source: str) -> bool:
    """Whether an example of this source is in the store."""
    return (
        connection.execute(select(examples.c.source).where(examples.c.source == source)).first() is not None
    )


def find_example(connection: Connection, example_id: str) -> ExampleRow | None:
    """The row of an example."""
    columns = [examples.c[field.name] for field in fields(ExampleRow)]
    row = connection.execute(select(*columns).where(examples.c.example_id == example_id)).mappings().first()
    return None if row is None else ExampleRow(**row)


def example_ids(connection: Connection, part: Part | None = None) -> list[str]:
    """Examples of one part or of all, in the order in which they came in."""
    statement = select(examples.c.example_id).join(patients).order_by(examples.c.number)
    if part is not None:
        statement = statement.where(patients.c.part == part.value)
    return list(connection.execute(statement).scalars())


def count_examples(connection: Connection, column: str) -> dict[str | None, int]:
    """Number of examples for each value of a column of the example or, for `part`, of its patient."""
    table: Table = patients if column == "part" else examples
    statement = (
        select(table.c[column], func.count()).select_from(examples.join(patients)).group_by(table.c[column])
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def count_patients(connection: Connection) -> dict[Part, int]:
    """Number of patients in each part; a part without patients is there with 0."""
    counted = connection.execute(select(patients.c.part, func.count()).group_by(patients.c.part))
    return dict.fromkeys(Part, 0) | {Part(name): count for name, count in counted}
