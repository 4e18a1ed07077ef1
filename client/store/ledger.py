"""The egress ledger: every message that leaves the site, written before it is sent.

A line names all that a message holds: each value by its name, each tensor with its shape. What carries
nothing of the site is no line: TLS, signs of life, and questions for blobs or for the site's standing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Engine, Float, Integer, RowMapping, String, Table, Text, func, insert, select

from client.store.audit import append
from client.store.schema import metadata
from shared.audit.event import Event
from shared.records import Occasion, Phase
from shared.store import transaction

ledger = Table(
    "ledger",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of leaving"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("run_id", String(63), index=True, comment="null outside of runs, as the next three"),
    Column("round_number", Integer),
    Column("attempt", Integer),
    Column("phase", String(16)),
    Column("kind", String(16), nullable=False),
    Column("rule", String(48), nullable=False, comment="of the policy, that let it go"),
    Column("names", Text, nullable=False, comment="of the values that it holds, JSON list"),
    Column("tensors", Text, nullable=False, comment="shapes by name, JSON object"),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False, comment="of the bytes that left, hex"),
    Column("base_sha256", String(64), comment="of the weights it was made from, hex; null outside of runs"),
)


class Kind(StrEnum):
    """What a message is."""

    ENROLMENT = "enrolment"
    RENEWAL = "renewal"
    UPDATE = "update"
    CONTRIBUTION = "contribution"
    REFUSAL = "refusal"
    FAILURE = "failure"
    STATEMENT = "statement"
    SITUATION = "situation"


class Rule(StrEnum):
    """Why something may leave."""

    PUBLIC_KEYS = "public-keys"
    WEIGHTS_OF_THE_PLAN = "weights-of-the-plan"
    MASKED_WEIGHTS = "masked-weights"
    WHAT_MASKS_NEED = "what-masks-need"
    LISTED_NUMBERS = "listed-numbers"
    STATISTICS_UNDER_A_MASK = "statistics-under-a-mask"
    KIND_OF_ERROR = "kind-of-error"
    DECISIONS = "decisions"
    READINESS = "readiness"


EXPLANATIONS: Mapping[Rule, str] = {
    Rule.PUBLIC_KEYS: "Public keys, a certificate request and the software's version: what membership needs.",
    Rule.WEIGHTS_OF_THE_PLAN: "Changes of weights, by the names and shapes that the plan's strategy sends, "
    "all finite, rounded to the round's grid.",
    Rule.MASKED_WEIGHTS: "The same under a mask: noise to everybody, until it is added to the others'.",
    Rule.WHAT_MASKS_NEED: "Public keys for masks, shares of secrets that are sealed for other sites, a "
    "signature under whose updates are added up, and what takes the masks off their sum.",
    Rule.LISTED_NUMBERS: "Counts and statistics over images, of a fixed list, and where the audit log "
    "stands.",
    Rule.STATISTICS_UNDER_A_MASK: "Counts of training examples, where the audit log stands, and statistics "
    "over images as numbers under a mask: noise to everybody, until they are added to the others'.",
    Rule.DECISIONS: "What was decided about a plan, with the reason; pausing, going on, leaving.",
    Rule.READINESS: "Where the policy lets it be told: how many labelled examples are in each part, and the "
    "GPUs' names and memory.",
    Rule.KIND_OF_ERROR: "The kind of an error, never its text, and where the audit log stands.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One message that leaves.

    Attributes
    ----------
    occasion
        The exchange it belongs to; None outside of runs.
    names
        Of the values that it holds, such as `evaluation.loss`.
    tensors
        Shapes by name.
    sha256
        Hex digest of its bytes.
    """

    kind: Kind
    rule: Rule
    size_bytes: int
    sha256: str
    occasion: Occasion | None = None
    names: tuple[str, ...] = ()
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One line, as it was written; what it means is said at `LedgerEntry`.

    Attributes
    ----------
    number
        From 1, in the order of leaving.
    at
        Seconds since the Unix epoch.
    """

    number: int
    at: float
    run_id: str | None
    round_number: int | None
    attempt: int | None
    phase: str | None
    kind: str
    rule: str
    names: list[str]
    tensors: Mapping[str, list[int]]
    size_bytes: int
    sha256: str
    base_sha256: str | None

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def names_in(document: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The names of all values that a message holds, such as `evaluation.loss`."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from names_in(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An update, a count or an evaluation of a run that was let go.

    Attributes
    ----------
    base_sha256
        Of the weights that it was made from; None in a line of an older version.
    """

    round_number: int
    attempt: int
    phase: Phase
    base_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """All that has left, summed up; `last_at` in seconds since the Unix epoch, None if nothing has."""

    messages: int
    size_bytes: int
    last_at: float | None


class Ledger:
    """Appends to the ledger, and reads it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, entry: LedgerEntry, *, at: float, event: Event | None = None, actor: str = "") -> None:
        """Write one line, in one transaction with the line of the audit log that tells of it, if any."""
        occasion = entry.occasion
        with transaction(self._engine) as connection:
            connection.execute(
                insert(ledger).values(
                    at=at,
                    run_id=occasion and occasion.run_id,
                    round_number=occasion and occasion.round_number,
                    attempt=occasion and occasion.attempt,
                    phase=occasion and occasion.phase.value,
                    kind=entry.kind,
                    rule=entry.rule,
                    names=json.dumps(entry.names),
                    tensors=json.dumps(entry.tensors),
                    size_bytes=entry.size_bytes,
                    sha256=entry.sha256,
                    base_sha256=occasion and occasion.base_digest,
                )
            )
            if event is not None:
                append(connection, event, actor=actor, at=at)

    def totals(self) -> LedgerTotals:
        """How much has left, and when the last of it."""
        query = select(func.count(), func.coalesce(func.sum(ledger.c.size_bytes), 0), func.max(ledger.c.at))
        with transaction(self._engine) as connection:
            messages, size_bytes, last_at = connection.execute(query.select_from(ledger)).one()
        return LedgerTotals(messages=messages, size_bytes=size_bytes, last_at=last_at)

    def lines(self, *, run_id: str | None = None) -> list[LedgerLine]:
        """All lines in the order of leaving, of one run if given."""
        query = select(ledger).order_by(ledger.c.number)
        if run_id is not None:
            query = query.where(ledger.c.run_id == run_id)
        with transaction(self._engine) as connection:
            return [_to_line(row) for row in connection.execute(query).mappings()]


def _to_line(row: RowMapping) -> LedgerLine:
    return LedgerLine(**{**row, "names": json.loads(row["names"]), "tensors": json.loads(row["tensors"])})
