"""How the images look that a model was trained on: what sites tell of theirs, and the reference made of it.

A site tells the mean and the covariance of a few quantities (`QUANTITIES`) over its training images. Pooled,
they are the mean and covariance over all images, as if they had been in one place. A new image that lies
further from that mean than one image in a thousand would (Hotelling's T-squared for one new observation;
Anderson, An Introduction to Multivariate Statistical Analysis, 5.2) is unlike those images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from shared.tables import Table

QUANTITIES = (
    *(f"grey_{percentile}" for percentile in (5, 25, 50, 75, 95)),
    "bright",
    "dark",
    *(f"depth_{zone}" for zone in range(4)),
    *(f"texture_{sigma}" for sigma in (1, 2, 4, 8)),
    "gradient",
    "unevenness",
    "direction",
    "filled",
    "solidity",
    "proportions",
)
"""Percentiles of grey, shares of bright and dark, mean grey by depth below the skin, logarithms of texture
and gradient, and the outline; all of them without a unit. `client.imaging.appearance` measures them."""

LEAST_AT_A_SITE = 20
"""The spread of fewer images would nearly be the images' own quantities."""
LEAST_IN_ALL = 5 * len(QUANTITIES)
"""With fewer, the covariance says more of chance than of mammograms, and nothing is called unlike them."""
ONE_IN = 1000

Vector = npt.NDArray[np.float64]
Bounded = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class Appearance(Table):
    """Mean and covariance of the quantities over a number of images.

    Attributes
    ----------
    num_examples
        Images; of a site as its policy lets it be told.
    mean
        In the order of `QUANTITIES`.
    covariance
        Its upper triangle, row by row.
    """

    num_examples: Annotated[int, Field(ge=LEAST_AT_A_SITE, le=10_000_000)]
    mean: list[Bounded]
    covariance: list[Bounded]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        num = len(QUANTITIES)
        if len(self.mean) != num or len(self.covariance) != num * (num + 1) // 2:
            raise ValueError("not of these quantities")
        eigenvalues = np.linalg.eigvalsh(self.covariance_matrix())
        if eigenvalues[0] < -1e-6 * max(1.0, eigenvalues[-1]):
            raise ValueError("no covariance")
        return self

    def covariance_matrix(self) -> Vector:
        """The whole matrix."""
        matrix = np.zeros((len(QUANTITIES), len(QUANTITIES)))
        matrix[np.triu_indices(len(QUANTITIES))] = self.covariance
        return matrix + np.triu(matrix, 1).T


def describe(values_NQ: Vector, *, told: int) -> Appearance:
    """The appearance of images from their quantities, as so many images."""
    return _appearance(told, values_NQ.mean(axis=0), np.cov(values_NQ, rowvar=False))


def pool(appearances: Sequence[Appearance]) -> Appearance | None:
    """The appearance of all images of several sites; None if they are too few to compare anything with."""
    total = sum(each.num_examples for each in appearances)
    if total < LEAST_IN_ALL:
        return None
    share_S = np.array([each.num_examples for each in appearances]) / total
    mean = share_S @ np.array([each.mean for each in appearances])
    scatter = np.zeros((len(QUANTITIES), len(QUANTITIES)))
    for each in appearances:
        offset = np.array(each.mean) - mean
        scatter += (each.num_examples - 1) * each.covariance_matrix()
        scatter += each.num_examples * np.outer(offset, offset)
    return from_scatter(total, mean, scatter)


def from_scatter(num_examples: int, mean: Vector, scatter: Vector) -> Appearance:
    """The appearance of images from the products of their deviations from the mean, added up.

    Raises
    ------
    ValueError
        It is none that images can have.
    """
    return _appearance(num_examples, mean, scatter / (num_examples - 1))


def _appearance(num_examples: int, mean: Vector, covariance: Vector) -> Appearance:
    upper = covariance[np.triu_indices(len(QUANTITIES))]
    return Appearance(num_examples=num_examples, mean=mean.tolist(), covariance=upper.tolist())
