"""Histories to attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shared.audit.chain import GENESIS, AuditLine, seal
from shared.audit.checkpoints import Checkpoint
from shared.audit.event import Event
from shared.audit.events import ModelPublished, RoundOpened, RunFinished, RunRunning, RunSubmitted

NOW_MS = 1_700_000_000_123
STORY: Sequence[tuple[str, Event]] = (
    ("person:ada", RunSubmitted(subject="run-1", plan_sha256="a" * 64)),
    ("coordinator", RunRunning(subject="run-1")),
    (
        "coordinator",
        RoundOpened(subject="run-1", number=1, attempt=1, phase="train", cohort=("site-a", "site-b")),
    ),
    ("coordinator", RunFinished(subject="run-1")),
    ("coordinator", ModelPublished(subject="model-1", run_id="run-1", manifest_sha256="b" * 64)),
)


def history() -> list[AuditLine]:
    """Five honest lines."""
    lines = [
        AuditLine(
            sequence=number,
            at_ms=NOW_MS + number,
            actor=actor,
            name=event.name,
            subject=event.subject,
            details=event.details(),
            previous="",
            hash="",
        )
        for number, (actor, event) in enumerate(STORY, start=1)
    ]
    return rechained(lines)


def rechained(lines: Sequence[AuditLine]) -> list[AuditLine]:
    """The chain computed anew, numbers included, as somebody could who owns the log."""
    chained: list[AuditLine] = []
    for number, line in enumerate(lines, start=1):
        previous = chained[-1].hash if chained else GENESIS
        chained.append(seal(replace(line, sequence=number, previous=previous)))
    return chained


def standing(lines: Sequence[AuditLine], sequence: int) -> Checkpoint:
    """The checkpoint that was true when the log had so many lines."""
    head = lines[sequence - 1].hash if sequence else GENESIS
    return Checkpoint(side="site-a", sequence=sequence, head=head, at_ms=NOW_MS + sequence)
