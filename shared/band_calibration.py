"""Whether a model's density bands may be called by the readers' word: the calibration in its passport.

Readers say BI-RADS categories (ACR, 5th edition, 2013). A model's bands are called so only if its plan learnt
readers' categories and the sites' test parts show, together, that its probabilities can be believed; else
they are density bands, uncalibrated. No other module says that word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from shared.bands import Band
from shared.evaluation.agreement import calibration_slope, differences, quadratic_kappa
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.plan import CategorySource
from shared.tables import Table

MIN_SITES = 2
MIN_IMAGES = 200
"""With probabilities and categories, of all sites together."""
LEAST_KAPPA = 0.6
"""Substantial agreement (Landis and Koch, Biometrics 33, 1977)."""
MAX_BIAS = 0.1
"""In categories, either way."""
SLOPES = (0.8, 1.25)


class BandCalibration(Table):
    """How a model's density bands agree with readers' categories on the test parts of all sites together.

    What does not agree well enough cannot be constructed, nor read from a manifest.

    Attributes
    ----------
    kappa
        Quadratic.
    bias, slope
        Of the readers' places 0 (a) to 3 (d) beside those that the probabilities let expect: the mean of
        expected less read, and `calibration_slope`.
    """

    num_sites: Annotated[int, Field(ge=MIN_SITES)]
    num_images: Annotated[int, Field(ge=MIN_IMAGES)]
    kappa: Annotated[float, Field(ge=LEAST_KAPPA, le=1)]
    bias: Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]
    slope: Annotated[float, Field(ge=SLOPES[0], le=SLOPES[1])]

    @property
    def words(self) -> str:
        """On one line."""
        return (
            f"calibrated on readers' BI-RADS categories of {self.num_images} images of {self.num_sites} "
            f"sites: quadratic kappa {self.kappa:.2f}, bias {self.bias:+.2f}, slope {self.slope:.2f}"
        )


def calibration_of(source: CategorySource | None, told: Sequence[Evaluation]) -> BandCalibration | None:
    """What sites tell of a final model, if it is enough to call its bands by the readers' word.

    Parameters
    ----------
    source
        Whose categories the plan's head has learnt.
    told
        By each site, of its test part.
    """
    with_bands = [each for each in told if each.density_categories and each.density_categories.expected]
    return calibration_over_all(source, pool(with_bands), num_sites=len(with_bands))


def calibration_over_all(
    source: CategorySource | None, pooled: Evaluation | None, *, num_sites: int
) -> BandCalibration | None:
    """The same from what so many sites tell together, each of them with probabilities of bands."""
    if source != "readers" or pooled is None or pooled.density_categories is None:
        return None
    categories, expected = pooled.density_categories, pooled.density_categories.expected
    if expected is None:
        return None
    kappa, slope = quadratic_kappa(categories), calibration_slope(expected)
    if kappa is None or slope is None:
        return None
    try:
        return BandCalibration(
            num_sites=num_sites,
            num_images=expected.num_images,
            kappa=kappa,
            bias=differences(expected).mean,
            slope=slope,
        )
    except ValidationError:  # beyond what the record allows
        return None


def band_in_words(band: Band, calibration: BandCalibration | None) -> str:
    """A band as it may be called."""
    if calibration is None:
        return f"density band {band} (uncalibrated)"
    return f"likely BI-RADS density category {band}"
