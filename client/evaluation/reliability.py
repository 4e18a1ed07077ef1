"""How far the probability of dense tissue can be believed, image by image.

Brier, Monthly Weather Review 78 (1950); DeGroot and Fienberg, The Statistician 32 (1983).

Axes: H rows, W columns, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.evaluation.records import NUM_BINS

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Of the pixels of one breast.

    Attributes
    ----------
    brier
        Mean squared difference of probability and mask.
    share_B
        Share of the pixels whose probability lies in each bin.
    probability_B, frequency_B
        Sums over the pixels of a bin of what the model says and of the mask, over all pixels.
    """

    brier: float
    share_B: Values
    probability_B: Values
    frequency_B: Values


def reliability(
    probability_HW: npt.NDArray[np.float32],
    dense_HW: npt.NDArray[np.bool_],
    breast_HW: npt.NDArray[np.bool_],
) -> Reliability | None:
    """Reliability within an expert's breast; None where there is none.

    Parameters
    ----------
    probability_HW
        Of dense tissue, in [0, 1].
    dense_HW, breast_HW
        The expert's masks.
    """
    said, is_dense = probability_HW[breast_HW].astype(np.float64), dense_HW[breast_HW].astype(np.float64)
    if not len(said):
        return None
    places = np.minimum((said * NUM_BINS).astype(np.int64), NUM_BINS - 1)

    def shares(weights: Values | None) -> Values:
        return np.bincount(places, weights, NUM_BINS) / len(said)

    return Reliability(
        brier=float(np.mean((said - is_dense) ** 2)),
        share_B=shares(None),
        probability_B=shares(said),
        frequency_B=shares(is_dense),
    )
