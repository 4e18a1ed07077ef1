"""Where values of images can lie, and intervals of their means that stay there.

A normal interval of a mean near a bound leaves what is possible, the sooner the fewer images there are. So it
is laid on the logistic scale of the bounds, which has none (Lesaffre, Rizopoulos and Tsonaka, Biostatistics
8, 2007), by the delta method (Oehlert, The American Statistician 46, 1992), and brought back: it keeps within
the bounds, and is the wider on the side that is far from one.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

from shared.evaluation.records import Interval

Bounds: TypeAlias = tuple[float, float]

SHARE: Bounds = (0.0, 1.0)
PERCENT: Bounds = (0.0, 100.0)
PERCENT_DIFFERENCE: Bounds = (-100.0, 100.0)
CATEGORY: Bounds = (0.0, 3.0)
CATEGORY_DIFFERENCE: Bounds = (-3.0, 3.0)
DISTANCE: Bounds = (0.0, 1e5)
"""In mm or pixels: no image is larger."""
NONE: Bounds = (-math.inf, math.inf)

Z_95 = NormalDist().inv_cdf(0.975)


def interval_of_mean(mean: float, standard_error: float, bounds: Bounds) -> Interval:
    """The 95 % interval of a mean of values within bounds."""
    low, high = bounds
    if math.isinf(low) or math.isinf(high):
        return mean - Z_95 * standard_error, mean + Z_95 * standard_error
    if standard_error == 0 or not low < mean < high:
        at = min(high, max(low, mean))
        return at, at
    below, above = mean - low, high - mean
    centre = math.log(below / above)
    half = Z_95 * standard_error * (1 / below + 1 / above)
    return _back(centre - half, bounds), _back(centre + half, bounds)


def _back(place: float, bounds: Bounds) -> float:
    """From the logistic scale; written with tanh, which does not overflow."""
    low, high = bounds
    return low + (high - low) * (1 + math.tanh(place / 2)) / 2
