"""What a coordinator holds at the end of a round: one update, or a mean over several with noise in it.

Updates are shortened, rounded and added up by the product's own code, and noise is its own. Two things are
left out, because they leave no trace: masks, for a sum under them is the plain one to the last bit
(`tests/unit/masking`); and that each site adds its part of the noise, for the parts' sum is noise of the same
kind (`shared.masking.site_noise`), which is drawn at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from bench.privacy_audit.settings import Setting
from shared.fixed_point.grid import Bits, Grid, first_grid, next_grid
from shared.fixed_point.norm import NormBound
from shared.fixed_point.rounding import Rounding, rounding_key
from shared.fixed_point.sums import IntegerSum
from shared.masking.site_noise import SiteNoise
from shared.model import Weights

BITS: Bits = 16
SETTLED_AFTER = 20
"""Rounds in which a grid follows updates of one size."""


def grid_of_first_round(base: Weights, *, share: float) -> Grid:
    """The grid of a run's first round from some weights."""
    largest = {name: float(base[name].abs().max()) for name in sorted(base)}
    shapes = {name: tuple(base[name].shape) for name in sorted(base)}
    return first_grid(BITS, largest, shapes, largest_share=share)


def grid_of_later_rounds(base: Weights, updates: Sequence[Weights], *, share: float) -> Grid:
    """The grid that a run comes to whose changes are as large as these updates."""
    largest = {name: max(float(update[name].abs().max()) for update in updates) for name in sorted(base)}
    grid = grid_of_first_round(base, share=share)
    for _ in range(SETTLED_AFTER):
        grid = next_grid(grid, largest, largest_share=share)
    return grid


def released(
    updates: Sequence[Weights], setting: Setting, grid: Grid, *, clip_norm: float, seed: int
) -> Weights:
    """The mean of some updates, one of each site, as a coordinator comes to know it.

    Parameters
    ----------
    updates
        As many as the setting has sites.
    clip_norm
        L2 norm to which an update is shortened where the setting has noise.
    seed
        Of rounding and of noise.
    """
    assert len(updates) == setting.num_sites
    total = sum_of(updates, setting, grid, clip_norm=clip_norm, seed=seed)
    return noisy(total, setting, grid, clip_norm=clip_norm, seed=seed)


def sum_of(
    updates: Sequence[Weights],
    setting: Setting,
    grid: Grid,
    *,
    clip_norm: float,
    seed: int,
    first: int = 0,
) -> IntegerSum:
    """The integers of some updates, each scaled by an equal share of the setting's sites, added up.

    Parameters
    ----------
    first
        Number of the first site; a site rounds an update in one way, whoever else is in the sum.
    """
    share, total = 1 / setting.num_sites, IntegerSum(grid)
    bound = bound_of(setting, grid, clip_norm)
    for number, update in enumerate(updates, start=first):
        values = {name: tensor.numpy() for name, tensor in update.items()}
        rounding = Rounding(
            grid=grid,
            share=share,
            key=rounding_key(seed, run_id="audit", round_number=1, attempt=1, site_id=f"site-{number}"),
            bound=bound if setting.noise_multiplier else None,
        )
        total.add(partial(rounding.blocks, values))
    return total


def noisy(
    total: IntegerSum,
    setting: Setting,
    grid: Grid,
    *,
    clip_norm: float,
    seed: int,
    num_honest: int = 1,
) -> Weights:
    """What a sum of scaled updates stands for, with the setting's noise in it.

    Parameters
    ----------
    num_honest
        In how many parts the noise is drawn, of which this has one: 1 is all of it.
    """
    parts = None
    if setting.noise_multiplier:
        reach = bound_of(setting, grid, clip_norm).reach(grid)
        parts = SiteNoise(grid=grid, reach=reach, multiplier=setting.noise_multiplier, num_honest=num_honest)
    random = np.random.default_rng([seed, setting.num_sites])
    values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in grid.shapes}
    for block in grid.blocks():
        integers = total.of(block.name)[block.start : block.stop].astype(np.int64)
        if parts is not None:
            integers += parts.drawn(block, random)
        values[block.name].append((integers * grid.step(block.name)).astype(np.float32))
    return {
        name: torch.from_numpy(np.concatenate(values[name])).reshape(shape)
        for name, shape in grid.shapes.items()
    }


def bound_of(setting: Setting, grid: Grid, clip_norm: float) -> NormBound:
    """What each site shortens its scaled update to."""
    return NormBound(largest=clip_norm / setting.num_sites, names=frozenset(grid.shapes))


def norm_of_update(update: Weights) -> float:
    """The L2 norm over all tensors."""
    return float(np.sqrt(sum(float((tensor.double() ** 2).sum()) for tensor in update.values())))


def typical_norm(updates: Sequence[Weights]) -> float:
    """The median norm of some updates: what a plan would clip to (Andrew et al., NeurIPS 2021)."""
    return float(np.median([norm_of_update(update) for update in updates]))


def flat(update: Weights) -> NDArray[np.float32]:
    """All values in a row, tensors in order of their names."""
    return np.concatenate([update[name].numpy().ravel() for name in sorted(update)])


def cosine(some: Weights, others: Weights) -> float:
    """How far two updates point the same way: 1 the same, 0 no more than chance."""
    one, other = flat(some).astype(np.float64), flat(others).astype(np.float64)
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), np.finfo(float).tiny))
