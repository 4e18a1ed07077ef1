"""Property inference: how dense are the breasts of one hospital's women, on the whole?

The attacker simulates hospitals on pictures of his own, from fatty to dense, and learns from their updates
how dense they are, as Ganju et al., Property inference attacks on fully connected neural networks, ACM CCS
2018, learn from weights: here by ridge regression, which needs no more than the products of updates with each
other. Under secure aggregation he simulates sums as well, and looks for the one hospital's density in them.

Axes: S hospitals, V values of an update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bench.learning import PatientExample
from bench.privacy_audit.figures import Figure, Values, correlation, with_interval
from bench.privacy_audit.material import percent_density
from bench.privacy_audit.releases import flat, grid_of_later_rounds, released, typical_norm
from bench.privacy_audit.settings import Setting
from bench.privacy_audit.sites import Round
from shared.fixed_point.grid import Grid
from shared.model import Weights

TILT = 0.25
"""How far a hospital's women lie from its middle, as a share of all ranks."""
PENALTIES = 10.0 ** np.arange(-6, 4)
"""Of the regression, in units of the updates' mean square length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A simulated one: its update, and the mean percent density of its women."""

    update: Weights
    density: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyRow:
    """How well one hospital's mean percent density is read under one setting.

    Attributes
    ----------
    one
        Correlation of what is read and what is true of the one hospital; 0 is guessing.
    together
        The same of the mean over all hospitals in the sum.
    error, guess_error
        Mean absolute error in percentage points, and that of always saying the mean.
    """

    setting: Setting
    one: Figure
    together: Figure
    error: float
    guess_error: float
    num_hospitals: int


def tilted_choice(densities: Values, count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Pictures of a hospital whose women are of one kind more than of others."""
    ranks = densities.argsort().argsort() / max(len(densities) - 1, 1)
    weights = np.exp(-0.5 * ((ranks - random.uniform()) / TILT) ** 2)
    return random.choice(len(densities), size=count, replace=False, p=weights / weights.sum())


def read_by_ridge(known_SV: Values, known_S: Values, asked_SV: Values) -> Values:
    """What ridge regression on some hospitals says of others; its penalty by leaving one out."""
    centre_V = known_SV.mean(axis=0)
    rows_SV, mean = known_SV - centre_V, float(known_S.mean())
    products_SS = rows_SV @ rows_SV.T
    scale = float(np.trace(products_SS)) / len(known_S)
    values, vectors = np.linalg.eigh(products_SS)
    rotated_S = vectors.T @ (known_S - mean)

    def left_out_error(penalty: float) -> float:
        kept = values / (values + penalty * scale)
        residual_S = vectors @ ((1 - kept) * rotated_S)
        # A row's share in its own prediction; the mean is one more parameter that it has a share in.
        share_S = (vectors**2) @ kept + 1 / len(known_S)
        return float(np.mean((residual_S / np.maximum(1 - share_S, 1e-9)) ** 2))

    penalty = min(PENALTIES, key=left_out_error) * scale
    dual_S = vectors @ (rotated_S / (values + penalty))
    said_S: Values = (asked_SV - centre_V) @ (rows_SV.T @ dual_S) + mean
    return said_S


def attack_property(
    attacked: Sequence[Hospital],
    simulated: Sequence[Hospital],
    round_: Round,
    settings: Sequence[Setting],
    *,
    on_step: Callable[[str], None],
    seed: int,
) -> list[PropertyRow]:
    """Read each attacked hospital under each setting, by those that the attacker has simulated."""
    updates = [hospital.update for hospital in (*attacked, *simulated)]
    clip_norm = typical_norm(updates)
    rows = []
    for setting in settings:
        on_step(f"property: {setting.words}")
        grid = grid_of_later_rounds(round_.base, updates, share=1 / setting.num_sites)
        known_SV, known_S, known_all_S = _observed(simulated, setting, grid, clip_norm, seed=seed)
        asked_SV, asked_S, asked_all_S = _observed(attacked, setting, grid, clip_norm, seed=seed + 1)
        said_S = read_by_ridge(known_SV, known_S, asked_SV)
        said_all_S = read_by_ridge(known_SV, known_all_S, asked_SV)
        rows.append(
            PropertyRow(
                setting=setting,
                one=_correlation(said_S, asked_S),
                together=_correlation(said_all_S, asked_all_S),
                error=float(np.abs(said_S - asked_S).mean()),
                guess_error=float(np.abs(known_S.mean() - asked_S).mean()),
                num_hospitals=len(attacked),
            )
        )
    return rows


def simulate_hospitals(
    pictures: Sequence[PatientExample], round_: Round, *, count: int, size: int, seed: int
) -> list[Hospital]:
    """Hospitals of so many pictures each, from fatty to dense, and their updates of a round."""
    random = np.random.default_rng(seed)
    densities = np.array([percent_density(picture) for picture in pictures])
    hospitals = []
    for number in range(count):
        chosen = tilted_choice(densities, size, random)
        update = round_.update([pictures[place] for place in chosen], seed=seed + number)
        hospitals.append(Hospital(update=update, density=fmean(densities[chosen].tolist())))
    return hospitals


def _observed(
    hospitals: Sequence[Hospital], setting: Setting, grid: Grid, clip_norm: float, *, seed: int
) -> tuple[Values, Values, Values]:
    """What is seen of each hospital in company of others; its density; the mean density of all of them."""
    random = np.random.default_rng(seed)
    rows, own, together = [], [], []
    for number, hospital in enumerate(hospitals):
        others = [each for place, each in enumerate(hospitals) if place != number]
        # One can be drawn twice: else all of a few would be together in every large sum.
        drawn = random.integers(len(others), size=setting.num_sites - 1)
        company = [hospital, *(others[place] for place in drawn)]
        mean = released(
            [each.update for each in company],
            setting,
            grid,
            clip_norm=clip_norm,
            seed=seed + 1000 * number,
        )
        rows.append(flat(mean).astype(np.float64))
        own.append(hospital.density)
        together.append(fmean(each.density for each in company))
    return np.stack(rows), np.array(own), np.array(together)


def _correlation(said_S: Values, true_S: Values) -> Figure:
    return with_interval(lambda units: correlation(said_S[units], true_S[units]), len(said_S))
