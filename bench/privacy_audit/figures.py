"""How well an attacker tells one thing from another, with the interval that so few trials allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Truths = NDArray[np.bool_]

NUM_RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
FEW_FALSE_POSITIVES = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value with its 95 % interval, by bootstrap."""

    value: float
    low: float
    high: float


def true_positive_rate(scores: Values, truths: Truths, *, at: float = FEW_FALSE_POSITIVES) -> float:
    """The share of true cases that are called so at a threshold that no more than a share of others passes.

    Carlini et al., Membership inference attacks from first principles, IEEE S&P 2022, ask for it in place of
    a mean: who is sure of a few has done harm.

    Parameters
    ----------
    at
        Most false positives, as a share of the others; of a few others that is none.
    """
    others = np.sort(scores[~truths])[::-1]
    threshold = others[int(at * len(others))]
    return float((scores[truths] > threshold).mean())


def area_under_curve(scores: Values, truths: Truths) -> float:
    """How often a true case scores above another one, ties counting half: 0.5 is guessing."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    num_true, num_other = int(truths.sum()), int((~truths).sum())
    above = float(ranks[truths].sum()) - num_true * (num_true + 1) / 2
    return above / (num_true * num_other)


def correlation(guessed: Values, true: Values) -> float:
    """Pearson's r; 0 where nothing varies."""
    if not guessed.std() or not true.std():
        return 0.0
    return float(np.corrcoef(guessed, true)[0, 1])


def with_interval(statistic: Callable[[NDArray[np.intp]], float], num_units: int, *, seed: int = 0) -> Figure:
    """A statistic over all units, and between which ends it lies when units are drawn anew.

    Parameters
    ----------
    statistic
        Of the units at some places; NaN where these allow none.
    """
    random = np.random.default_rng(seed)
    drawn = [
        statistic(random.integers(num_units, size=num_units, dtype=np.intp)) for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, PERCENTILES)
    return Figure(value=statistic(np.arange(num_units)), low=float(low), high=float(high))
