"""What this site has measured of models, for its own eyes, and over which images it has told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    Row,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from client.store.parts import Part
from client.store.schema import metadata
from shared.evaluation.records import Evaluation
from shared.records import Occasion, Phase
from shared.store import transaction

image_set = Table(
    "image_set",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of telling"),
    Column("part", String(10), nullable=False),
    Column(
        "images",
        Text,
        nullable=False,
        comment="random ids of examples, with numbers of masks that count, JSON list",
    ),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("round_number", Integer, primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("told", Integer, ForeignKey("image_set.number"), comment="over which images; null if untold"),
    Column("document", Text, nullable=False, comment="statistics over all its images, JSON"),
    Column("personal", Text, comment="the same of this site's own model, JSON; null without one"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvaluation:
    """An evaluation as it was made here.

    Attributes
    ----------
    at
        Seconds since the Unix epoch.
    may_be_told
        Whether its statistics may leave, if they are over enough images.
    personal
        Of the site's own model over the same images; None if it was not measured.
    """

    round_number: int
    phase: Phase
    at: float
    may_be_told: bool
    evaluation: Evaluation
    personal: Evaluation | None


class Evaluations:
    """The evaluations of one site."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def told(self, part: Part) -> list[frozenset[str]]:
        """The sets of images of a part that were told of, oldest first."""
        with transaction(self._engine) as connection:
            return list(_sets(connection, part).values())

    def keep(
        self,
        occasion: Occasion,
        part: Part,
        told: frozenset[str] | None,
        made: Evaluation,
        *,
        personal: Evaluation | None = None,
        at: float,
    ) -> None:
        """Keep an evaluation in the place of an earlier one of that round, before anything of it leaves.

        Parameters
        ----------
        told
            The images that it may be told over; None if it may not be told.
        personal
            Of the site's own model, over the same images.
        """
        with transaction(self._engine) as connection:
            row = {
                "run_id": occasion.run_id,
                "round_number": occasion.round_number,
                "phase": occasion.phase.value,
                "at": at,
                "told": None if told is None else _number_of(connection, part, told),
                "document": made.model_dump_json(),
                "personal": None if personal is None else personal.model_dump_json(),
            }
            connection.execute(insert(evaluation).values(row).on_conflict_do_update(set_=row))

    def again(self, occasion: Occasion, part: Part, told: frozenset[str]) -> KeptEvaluation | None:
        """What was made in this round before over these very images."""
        with transaction(self._engine) as connection:
            numbers = [number for number, known in _sets(connection, part).items() if known == told]
            query = select(evaluation).where(
                evaluation.c.run_id == occasion.run_id,
                evaluation.c.round_number == occasion.round_number,
                evaluation.c.phase == occasion.phase.value,
                evaluation.c.told.in_(numbers),
            )
            row = connection.execute(query).one_or_none()
        return None if row is None else _to_kept(row)

    def keep_told(self, part: Part, told: frozenset[str]) -> None:
        """Keep that something may be told over these images, before it leaves."""
        with transaction(self._engine) as connection:
            _number_of(connection, part, told)

    def of_run(self, run_id: str) -> list[KeptEvaluation]:
        """The evaluations of a run, by round; that of the final weights is the last."""
        order = (evaluation.c.round_number, evaluation.c.at)
        query = select(evaluation).where(evaluation.c.run_id == run_id).order_by(*order)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_to_kept(row) for row in rows]


def _to_kept(row: Row[Any]) -> KeptEvaluation:
    return KeptEvaluation(
        round_number=row.round_number,
        phase=Phase(row.phase),
        at=row.at,
        may_be_told=row.told is not None,
        evaluation=Evaluation.model_validate_json(row.document),
        personal=None if row.personal is None else Evaluation.model_validate_json(row.personal),
    )


def _sets(connection: Connection, part: Part) -> dict[int, frozenset[str]]:
    query = select(image_set).where(image_set.c.part == part.value).order_by(image_set.c.number)
    return {row.number: frozenset(json.loads(row.images)) for row in connection.execute(query)}


def _number_of(connection: Connection, part: Part, images: frozenset[str]) -> int:
    """The number of a set, which is new if it was not told of before."""
    for number, known in _sets(connection, part).items():
        if known == images:
            return number
    row = {"part": part.value, "images": json.dumps(sorted(images))}
    (number,) = connection.execute(insert(image_set).values(row).returning(image_set.c.number)).one()
    return int(number)
