"""What `audit verify` finds: whether a log holds, and who has contradicted themselves in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from shared.audit.chain import AuditLine, Break, Verified
from shared.audit.checkpoints import Checkpoint, verify_against
from shared.audit.events import HistoryContradicted
from shared.errors import ContradictedError, HistoryError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one verification.

    Attributes
    ----------
    of
        Whose log it is.
    contradictions
        Lines that tell of a side that has signed two histories.
    """

    of: str
    outcome: Verified | Break
    contradictions: tuple[AuditLine, ...]

    def to_json(self) -> dict[str, object]:
        """For machines."""
        told = [
            {"side": line.subject, "sequence": line.sequence, "reason": line.details["reason"]}
            for line in self.contradictions
        ]
        if isinstance(self.outcome, Break):
            return {
                "of": self.of,
                "holds": False,
                "broken_at": self.outcome.at,
                "flaw": self.outcome.flaw.value,
                "confirmed": self.outcome.confirmed,
                "contradictions": told,
            }
        return {
            "of": self.of,
            "holds": True,
            "lines": self.outcome.sequence,
            "head": self.outcome.head,
            "checkpoints": self.outcome.num_checkpoints,
            "contradictions": told,
        }

    def require_holding(self) -> None:
        """Return only if nothing is wrong.

        Raises
        ------
        HistoryError
            The log was altered; the message names the first line.
        ContradictedError
            The log holds, and tells of a side that has signed two histories.
        """
        if isinstance(self.outcome, Break):
            raise HistoryError(
                f"The audit log of '{self.of}' does not hold at line {self.outcome.at}: "
                f"{self.outcome.flaw.value}.",
                f"Lines up to {self.outcome.confirmed} are confirmed by a checkpoint. Keep both sides' logs "
                "as they are, and find out who could write to this one.",
            )
        if self.contradictions:
            sides = sorted({line.subject for line in self.contradictions})
            raise ContradictedError(
                f"Two histories were signed by: {', '.join(sides)}.",
                "See `audit show --event audit.contradicted`; ask that side by a second way whether it has "
                "restored a backup, and verify an export of its log.",
            )


@dataclass(slots=True)
class _Watch:
    contradictions: list[AuditLine] = field(default_factory=list)

    def over(self, lines: Iterable[AuditLine]) -> Iterator[AuditLine]:
        for line in lines:
            if line.name == HistoryContradicted.name:
                self.contradictions.append(line)
            yield line


def verify_log(lines: Iterable[AuditLine], checkpoints: Sequence[Checkpoint], *, of: str) -> Finding:
    """Verify one side's log, from its first line on.

    Parameters
    ----------
    checkpoints
        What that side has vouched for, opened.
    """
    watch = _Watch()
    outcome = verify_against(watch.over(lines), checkpoints)
    return Finding(of=of, outcome=outcome, contradictions=tuple(watch.contradictions))
