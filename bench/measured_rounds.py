"""What a benchmark of rounds measures, whichever program carries them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

NUM_SITES = 2
NUM_TENSORS = 10
STAMPS = "stamps"
"""File of times, one a line: the beginning of every round, and the end of the last."""

COMPUTED = "computed"
"""Files `computed-SITE`, in each a line a round: seconds that the site computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Some rounds of one program with one size of model.

    Attributes
    ----------
    model_bytes
        Of the model in float32.
    round_s
        Median time of a round.
    overhead_s
        Median of a round's time less what its slowest site computed.
    wire_bytes
        Over loopback in a round.
    peak_bytes
        Largest resident memory of each kind of process.
    """

    program: str
    model_bytes: int
    num_rounds: int
    round_s: float
    overhead_s: float
    wire_bytes: int
    peak_bytes: Mapping[str, int]


def rounds_of(
    program: str,
    *,
    model_bytes: int,
    stamps: Sequence[float],
    computed: Sequence[Sequence[float]],
    wire_bytes: int,
    peak_bytes: Mapping[str, int],
) -> Rounds:
    """From the times at which rounds began, and the last one ended.

    Parameters
    ----------
    computed
        Of each site, seconds of computing in each of the rounds.
    wire_bytes
        In all rounds together.
    """
    took = [end - begin for begin, end in pairwise(stamps)]
    slowest = [max(each) for each in zip(*computed, strict=True)]
    return Rounds(
        program=program,
        model_bytes=model_bytes,
        num_rounds=len(took),
        round_s=statistics.median(took),
        overhead_s=statistics.median(one - own for one, own in zip(took, slowest, strict=True)),
        wire_bytes=wire_bytes // len(took),
        peak_bytes=dict(sorted(peak_bytes.items())),
    )


def read_stamps(folder: Path) -> list[float]:
    """The times that a program has written so far."""
    file = folder / STAMPS
    return [float(line) for line in file.read_text().splitlines()] if file.exists() else []


def read_computed(folder: Path, *, num_rounds: int) -> list[list[float]]:
    """Seconds of computing of each site in the first rounds."""
    return [
        [float(line) for line in file.read_text().splitlines()[:num_rounds]]
        for file in sorted(folder.glob(f"{COMPUTED}-*"))
    ]
