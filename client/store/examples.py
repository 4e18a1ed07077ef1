"""The statements on patients, examples and masks: the one module of SQL of the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from client.store.parts import Part, next_part
from client.store.personal_models import personal_model
from client.store.schema import clinical, run_use
from client.store.schema import decision as decisions
from client.store.schema import draft as drafts
from client.store.schema import erasure as erasures
from client.store.schema import example as examples
from client.store.schema import mask as masks
from client.store.schema import patient as patients
from client.store.schema import removal as removals
from client.store.shards import Place
from shared.audit.events import DataRemoved


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """What the store knows of an example; the columns are described in the schema."""

    example_id: str
    patient: str
    source: str
    content: str
    shard: int
    offset: int
    size_bytes: int
    sha256: str | None
    height: int
    width: int
    geometry: str
    row_mm: float | None
    column_mm: float | None
    view: str | None
    laterality: str | None
    manufacturer: str | None
    year: int | None
    density: str | None
    mirrored: bool
    adipose_px: int | None
    dense_px: int | None
    pectoral_px: int | None
    added_at: float

    @property
    def has_mask(self) -> bool:
        """Whether an expert has drawn on it."""
        return self.dense_px is not None

    @property
    def place(self) -> Place:
        """Where its record lies."""
        return Place(shard=self.shard, offset=self.offset, size_bytes=self.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Examples that were taken out.

    Attributes
    ----------
    at
        Seconds since the epoch, UTC.
    runs
        Ids of the runs that had used them.
    """

    at: float
    patients: int
    examples: int
    runs: tuple[str, ...]

    def told(self, why: str) -> DataRemoved:
        """What the audit log has of it: numbers alone."""
        return DataRemoved(subject=why, num_patients=self.patients, num_examples=self.examples)


_COLUMNS = [examples.c[field.name] for field in fields(ExampleRow)]
_LABELLED = examples.c.dense_px.is_not(None)
_CATEGORISED = examples.c.density.is_not(None)


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
    """Add an example of a known patient; a decision against its source is over."""
    connection.execute(insert(examples).values(asdict(row)))
    connection.execute(delete(decisions).where(decisions.c.source == row.source))


def update_example(connection: Connection, example_id: str, changes: Mapping[str, object]) -> None:
    """Change some columns of an example."""
    connection.execute(update(examples).where(examples.c.example_id == example_id).values(dict(changes)))


def fill_in(connection: Connection, example_id: str, values: Mapping[str, object]) -> bool:
    """Give columns of an example that are null a value, if there is one; returns whether any has changed."""
    changed = 0
    for column, value in values.items():
        if value is not None:
            statement = update(examples).where(
                examples.c.example_id == example_id, examples.c[column].is_(None)
            )
            changed += connection.execute(statement.values({column: value})).rowcount
    return changed > 0


def insert_mask(connection: Connection, example_id: str, values: Mapping[str, object]) -> None:
    """Note where an example's mask comes from."""
    number = select(examples.c.number).where(examples.c.example_id == example_id).scalar_subquery()
    connection.execute(insert(masks).values(example=number, **values))


def count_labels(connection: Connection) -> tuple[int, int]:
    """Number of the mask that came in last, 0 without any; and how many examples have a category."""
    newest = connection.execute(select(func.max(masks.c.number))).scalar() or 0
    return newest, connection.execute(select(func.count()).where(_CATEGORISED)).scalar_one()


def find_example(connection: Connection, column: str, value: str) -> ExampleRow | None:
    """The example with this value in a unique column."""
    row = connection.execute(select(*_COLUMNS).where(examples.c[column] == value)).mappings().first()
    return None if row is None else ExampleRow(**row)


def example_ids(
    connection: Connection, part: Part | None = None, *, labelled: bool = True, categorised: bool = False
) -> list[str]:
    """Examples of one part or of all, with masks or without, in the order in which they came in.

    With `categorised` those that have a reader's category come in any case.
    """
    statement = select(examples.c.example_id).join(patients).order_by(examples.c.number)
    wanted = _LABELLED if labelled else ~_LABELLED
    statement = statement.where(or_(wanted, _CATEGORISED) if categorised else wanted)
    if part is not None:
        statement = statement.where(patients.c.part == part.value)
    return list(connection.execute(statement).scalars())


def patients_of(connection: Connection, part: Part, *, categorised: bool) -> dict[str, str]:
    """Pseudonyms by example, of the examples of `example_ids`."""
    wanted = example_ids(connection, part, categorised=categorised)
    rows = connection.execute(select(examples.c.example_id, examples.c.patient)).all()
    whose = {row.example_id: row.patient for row in rows}
    return {example_id: whose[example_id] for example_id in wanted}


def all_examples(connection: Connection, patient: str | None = None) -> list[ExampleRow]:
    """All examples, or those of one patient, in the order in which they came in."""
    statement = select(*_COLUMNS).order_by(examples.c.number)
    if patient is not None:
        statement = statement.where(examples.c.patient == patient)
    return [ExampleRow(**row) for row in connection.execute(statement).mappings()]


def count_examples(connection: Connection, column: str, *, labelled: bool = False) -> dict[str | None, int]:
    """Number of examples for each value of a column of the example or, for `part`, of its patient."""
    table: Table = patients if column == "part" else examples
    statement = (
        select(table.c[column], func.count()).select_from(examples.join(patients)).group_by(table.c[column])
    )
    if labelled:
        statement = statement.where(_LABELLED)
    return {row[0]: row[1] for row in connection.execute(statement)}


def count_categories(connection: Connection) -> dict[str, int]:
    """Number of examples in each part that have a category and no mask."""
    statement = select(patients.c.part, func.count()).select_from(examples.join(patients))
    statement = statement.where(_CATEGORISED, ~_LABELLED).group_by(patients.c.part)
    return {str(part): int(number) for part, number in connection.execute(statement)}


def count_masks(connection: Connection) -> dict[str, int]:
    """Number of examples by what the newest mask of each shows, the most first."""
    newest = select(func.max(masks.c.number)).group_by(masks.c.example)
    count = func.count()
    counted = connection.execute(
        select(masks.c.drawn, count)
        .where(masks.c.number.in_(newest))
        .group_by(masks.c.drawn)
        .order_by(count.desc(), masks.c.drawn)
    )
    return {str(drawn): int(number) for drawn, number in counted}


def count_patients(connection: Connection) -> dict[Part, int]:
    """Number of patients in each part; a part without patients is there with 0."""
    counted = connection.execute(select(patients.c.part, func.count()).group_by(patients.c.part))
    return dict.fromkeys(Part, 0) | {Part(name): count for name, count in counted}


def decide(connection: Connection, source: str, reason: str, at: float) -> None:
    """Note why an image is left out; a newer reason takes the place of an older one."""
    statement = insert_or(decisions).values(source=source, reason=reason, at=at)
    newest = {"reason": reason, "at": at}
    connection.execute(statement.on_conflict_do_update(index_elements=["source"], set_=newest))


def reason_against(connection: Connection, source: str) -> str | None:
    """Why an image was left out, if it was."""
    found = connection.execute(select(decisions.c.reason).where(decisions.c.source == source)).scalar()
    return None if found is None else str(found)


def count_decisions(connection: Connection) -> dict[str, int]:
    """Number of images left out, by reason, most first."""
    count = func.count()
    counted = connection.execute(
        select(decisions.c.reason, count).group_by(decisions.c.reason).order_by(count.desc())
    )
    return {str(reason): int(number) for reason, number in counted}


def note_use(connection: Connection, run_id: str, part: Part, at: float, *, categorised: bool) -> None:
    """Note that a run uses the patients of a part, once for each; see `example_ids`."""
    wanted = or_(_LABELLED, _CATEGORISED) if categorised else _LABELLED
    users = (
        select(patients.c.pseudonym).join(examples).where(patients.c.part == part.value, wanted).distinct()
    )
    for patient in connection.execute(users).scalars().all():
        statement = insert_or(run_use).values(run_id=run_id, patient=patient, first_at=at)
        connection.execute(statement.on_conflict_do_nothing())


def runs_with(connection: Connection, patient: str | None) -> list[str]:
    """Runs that have used a patient, or anybody, in the order of their names."""
    statement = select(run_use.c.run_id).distinct().order_by(run_use.c.run_id)
    if patient is not None:
        statement = statement.where(run_use.c.patient == patient)
    return list(connection.execute(statement).scalars())


def delete_examples(connection: Connection, patient: str | None, removal: Removal) -> None:
    """Take a patient's rows out, or all, and what this site alone has learnt from them; the line stays."""
    of_patient = select(examples.c.number)
    if patient is not None:
        of_patient = of_patient.where(examples.c.patient == patient)
    connection.execute(delete(masks).where(masks.c.example.in_(of_patient)))
    sources = select(examples.c.source).where(examples.c.number.in_(of_patient))
    connection.execute(
        delete(drafts) if patient is None else delete(drafts).where(drafts.c.source.in_(sources))
    )
    for table, column in ((examples, "patient"), (patients, "pseudonym"), (run_use, "patient")):
        statement = delete(table)
        connection.execute(statement if patient is None else statement.where(table.c[column] == patient))
    connection.execute(delete(personal_model).where(personal_model.c.run_id.in_(removal.runs)))
    if patient is None:
        connection.execute(delete(decisions))
    connection.execute(
        insert(removals).values(
            at=removal.at,
            withdrawn=patient,
            patients=removal.patients,
            examples=removal.examples,
            runs=json.dumps(removal.runs),
        )
    )


def shard_ends(connection: Connection) -> dict[int, int]:
    """Where the last record of each shard ends."""
    end = func.max(examples.c.offset + examples.c.size_bytes)
    return {
        int(shard): int(at)
        for shard, at in connection.execute(select(examples.c.shard, end).group_by(examples.c.shard))
    }


def names_anybody(connection: Connection) -> bool:
    """Whether any row holds the pseudonym of a patient or of an image."""
    columns = (
        patients.c.pseudonym,
        decisions.c.source,
        drafts.c.source,
        removals.c.withdrawn,
        clinical.c.patient,
    )
    return any(
        connection.execute(select(column).where(column.is_not(None)).limit(1)).first() for column in columns
    )


def order_erasure(connection: Connection, places: Iterable[Place]) -> None:
    """Note places that no row of an example names and whose bytes must go."""
    for place in places:
        statement = insert_or(erasures).values(asdict(place))
        # What was about to be written there, and could not be, may have been of another size.
        newest = {"size_bytes": place.size_bytes}
        connection.execute(statement.on_conflict_do_update(index_elements=["shard", "offset"], set_=newest))


def ordered_erasures(connection: Connection) -> list[Place]:
    """Places whose bytes must go."""
    return [Place(**row) for row in connection.execute(select(erasures)).mappings()]


def call_off_erasure(connection: Connection, place: Place) -> None:
    """The bytes are gone, or an example's."""
    connection.execute(
        delete(erasures).where(erasures.c.shard == place.shard, erasures.c.offset == place.offset)
    )


def is_withdrawn(connection: Connection, patient: str) -> bool:
    """Whether a patient's examples were taken out for good."""
    found = connection.execute(select(removals.c.number).where(removals.c.withdrawn == patient))
    return found.first() is not None


def all_removals(connection: Connection) -> list[Removal]:
    """What was taken out, oldest first."""
    columns = (removals.c.at, removals.c.patients, removals.c.examples, removals.c.runs)
    return [
        Removal(at=at, patients=patient_count, examples=example_count, runs=tuple(json.loads(runs)))
        for at, patient_count, example_count, runs in connection.execute(
            select(*columns).order_by(removals.c.number)
        )
    ]
