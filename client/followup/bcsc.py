"""Five-year risk of invasive breast cancer by the BCSC model of 2008, which knows density: pure.

J. A. Tice, S. R. Cummings, R. Smith-Bindman, L. Ichikawa, W. E. Barlow, K. Kerlikowske, "Using clinical
factors and mammographic breast density to estimate breast cancer risk", Annals of Internal Medicine 148,
337-347, 2008 (PMC2674327). Its baseline is of American women of 1998 to 2002: a site elsewhere gives a factor
by which its own incidence differs. Discrimination is modest (concordance 0.66): it sorts populations, not
women.

Each year from the woman's age on: the yearly incidence among those who are alive and without cancer is added,
and they become fewer by it and by other causes of death. The sum is multiplied by hazard ratios of density,
family history and biopsy, and by a factor that takes the mean of these over the population out again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.bands import BANDS, Band
from shared.errors import ConfigError

MIN_AGE, MAX_AGE = 35, 79
"""In years: what the model was made for."""
YEARS = 5


class Baseline(StrEnum):
    """Whose incidence and mortality are the baseline, as the model's authors name them."""

    WHITE = "white"
    BLACK = "black"
    ASIAN = "asian"
    HISPANIC = "hispanic"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Population:
    """Constants of one population.

    Attributes
    ----------
    incidence
        Coefficients of age cubed, squared, age, and 1; % a year.
    mortality
        Factor and exponent of the yearly probability to die of something else, in %.
    adjustments
        For ages below 45, 55, 65 and 75, and above.
    """

    incidence: tuple[float, float, float, float]
    mortality: tuple[float, float]
    adjustments: tuple[float, float, float, float, float]


POPULATIONS: Mapping[Baseline, _Population] = {
    Baseline.WHITE: _Population(
        incidence=(-7.231e-6, 1.129372e-3, -0.044330046, 0.520553050),
        mortality=(0.003695745, 0.08844949),
        adjustments=(0.7182, 0.7565, 0.8246, 0.9069, 0.9134),
    ),
    Baseline.BLACK: _Population(
        incidence=(-4.654e-6, 6.8968e-4, -0.02318653, 0.218993144),
        mortality=(0.011685888, 0.077263338),
        adjustments=(0.7470, 0.7810, 0.8486, 0.9201, 0.9334),
    ),
    Baseline.ASIAN: _Population(
        incidence=(-3.314e-6, 4.2146e-4, -0.009405533, 0.004344518),
        mortality=(0.01333534, 0.09479173),
        adjustments=(0.6341, 0.6742, 0.7530, 0.8866, 0.9127),
    ),
    Baseline.HISPANIC: _Population(
        incidence=(-3.928e-6, 5.85266e-4, -0.020678768, 0.210555571),
        mortality=(0.002435331, 0.091388373),
        adjustments=(0.7535, 0.7950, 0.8780, 0.9615, 0.9865),
    ),
}
ADJUSTED_BELOW = (45, 55, 65, 75)
DENSITY_BELOW_65 = (0.48107, 1.0, 1.5506, 2.0119)
DENSITY_FROM_65 = (0.65706, 1.0, 1.3881, 1.4499)
"""Hazard ratios of the categories a to d."""
FAMILY_HISTORY = {True: 1.454, False: 0.938, None: 1.0}
BIOPSY = {True: 1.495, False: 0.906, None: 1.0}
"""A first-degree relative with breast cancer; any biopsy of the breast before. None is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFactors:
    """What the model asks of a woman.

    Raises
    ------
    ConfigError
        The age is outside of what the model was made for.
    """

    age: int
    category: Band
    family_history: bool | None = None
    biopsy: bool | None = None

    def __post_init__(self) -> None:
        if not MIN_AGE <= self.age <= MAX_AGE:
            raise ConfigError(
                f"The BCSC risk model is for ages {MIN_AGE} to {MAX_AGE}.",
                "Leave the risk out, or compute it by another model.",
            )


def five_year_risk_percent(
    factors: RiskFactors, *, baseline: Baseline = Baseline.WHITE, recalibration: float = 1.0
) -> float:
    """Probability of invasive breast cancer within five years, in %.

    Parameters
    ----------
    recalibration
        The site's incidence over that of the baseline.
    """
    population = POPULATIONS[baseline]
    free, risk = 1.0, 0.0
    for age in range(factors.age, factors.age + YEARS):
        incidence = _incidence_percent(population, age)
        risk += incidence * free
        free -= (incidence + _mortality_percent(population, age)) / 100
    place = BANDS.index(factors.category)
    density = (DENSITY_BELOW_65 if factors.age < 65 else DENSITY_FROM_65)[place]
    adjustment = population.adjustments[sum(factors.age >= limit for limit in ADJUSTED_BELOW)]
    relative = density * FAMILY_HISTORY[factors.family_history] * BIOPSY[factors.biopsy]
    return risk * adjustment * relative * recalibration


def _incidence_percent(population: _Population, age: int) -> float:
    a, b, c, d = population.incidence
    return a * age**3 + b * age**2 + c * age + d


def _mortality_percent(population: _Population, age: int) -> float:
    factor, exponent = population.mortality
    return factor * math.exp(exponent * age)
