"""The hash chain: every line names the hash of the line before it.

A line's hash is the SHA-256 of its canonical JSON without the hash itself. The canonical form is that of
RFC 8785 for what a line holds (objects, arrays, text, whole numbers, booleans, null): sorted keys, no white
space, UTF-8. Anybody can recompute it with a few lines of any language.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from shared.audit.event import Detail

GENESIS = "0" * 64
"""What the first line has for a previous hash."""

NOTHING_KNOWN: Mapping[int, Collection[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One line of the log.

    Attributes
    ----------
    sequence
        From 1, without gaps.
    at_ms
        Milliseconds since the Unix epoch, UTC, by the clock of the side that wrote it.
    actor
        `person:NAME`, `local:USER`, `coordinator` or a site id.
    name
        Stable name of the event, such as `run.submitted`.
    subject
        Id of what it happened to.
    previous, hash
        Of the line before, and of this one; SHA-256, hex.
    """

    sequence: int
    at_ms: int
    actor: str
    name: str
    subject: str
    details: Mapping[str, Detail]
    previous: str
    hash: str

    def computed_hash(self) -> str:
        """The hash that its content has."""
        content = self.to_document()
        del content["hash"]
        return hashlib.sha256(canonical_json(content)).hexdigest()

    def to_document(self) -> dict[str, Any]:
        """As it is exported."""
        return {
            "sequence": self.sequence,
            "at_ms": self.at_ms,
            "actor": self.actor,
            "event": self.name,
            "subject": self.subject,
            "details": dict(self.details),
            "previous": self.previous,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A chain that holds.

    Attributes
    ----------
    sequence, head
        Number and hash of its last line; 0 and `GENESIS` of an empty log.
    num_checkpoints
        How many checkpoints it was held against.
    """

    sequence: int
    head: str
    num_checkpoints: int = 0


class Flaw(StrEnum):
    """What is wrong with a history."""

    ORDER = "a line is missing or out of order"
    LINK = "a line does not follow the line before it"
    CONTENT = "a line was altered"
    REWRITTEN = "the history is another than the one that was vouched for"
    CUT = "the end of the history is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A chain that does not hold.

    Attributes
    ----------
    at
        Sequence number at which it shows.
    confirmed
        Sequence number of the last line before it that a checkpoint confirms, 0 if there is none: what was
        done to the history was done after that line.
    """

    at: int
    flaw: Flaw
    confirmed: int


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """Canonical JSON (RFC 8785) of what a line may hold."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(line: AuditLine) -> AuditLine:
    """The line with the hash that its content has."""
    return replace(line, hash=line.computed_hash())


def verify_chain(
    lines: Iterable[AuditLine], *, known: Mapping[int, Collection[str]] = NOTHING_KNOWN
) -> Verified | Break:
    """Whether lines, from the first one on, form an unbroken chain.

    Of each line: 1. its number; 2. the hash that it names; 3. its own hash; 4. the hash that is known of it.
    In the end: 5. whether all lines are there that something is known of.

    Parameters
    ----------
    known
        Hashes that this history was shown to have, by sequence number.
    """
    sequence, head, confirmed = 0, GENESIS, 0
    if not _agrees(known, sequence, head):
        return Break(at=0, flaw=Flaw.REWRITTEN, confirmed=0)
    for line in lines:
        flaw = _flaw_of(line, after=sequence, head=head)
        if flaw is not None:
            return Break(at=sequence + 1, flaw=flaw, confirmed=confirmed)
        sequence, head = line.sequence, line.hash
        # 4.
        if not _agrees(known, sequence, head):
            return Break(at=sequence, flaw=Flaw.REWRITTEN, confirmed=confirmed)
        confirmed = sequence if sequence in known else confirmed
    # 5.
    if max(known, default=0) > sequence:
        return Break(at=sequence + 1, flaw=Flaw.CUT, confirmed=confirmed)
    return Verified(sequence=sequence, head=head)


def _agrees(known: Mapping[int, Collection[str]], sequence: int, head: str) -> bool:
    return all(each == head for each in known.get(sequence, ()))


def _flaw_of(line: AuditLine, *, after: int, head: str) -> Flaw | None:
    # 1.
    if line.sequence != after + 1:
        return Flaw.ORDER
    # 2.
    if line.previous != head:
        return Flaw.LINK
    # 3.
    return None if line.computed_hash() == line.hash else Flaw.CONTENT
