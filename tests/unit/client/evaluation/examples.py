"""Measures of single images that are made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.evaluation.images import ImageMetrics, Outlines
from client.evaluation.reliability import Reliability
from client.evaluation.surfaces import SurfaceDistance
from shared.evaluation.records import NUM_BINS
from shared.model.density_band import DensityBand


def image(
    number: int, *, in_mm: bool = True, probabilities: Sequence[float] | None = None, **changes: float
) -> ImageMetrics:
    """An image whose values follow from its number; with probabilities, of a model that gives bands such."""
    random = np.random.default_rng(number)
    expert = float(random.uniform(2, 70))
    share_B = np.zeros(NUM_BINS)
    share_B[[0, 9]] = 0.75, 0.25

    def distance() -> SurfaceDistance:
        near = float(random.uniform(0, 5))
        return SurfaceDistance(percentile_95=near, maximum=3 * near)

    values = {
        "loss": float(random.uniform(0.1, 2)),
        "dice_dense": float(random.uniform(0.4, 1)),
        "dice_breast": float(random.uniform(0.9, 1)),
        "dice_pectoral": float(random.uniform(0, 1)),
        "percent_density": float(np.clip(expert + random.normal(1, 5), 0, 100)),
        "expert_percent_density": expert,
        **changes,
    }
    return ImageMetrics(
        example_id=f"example-{number}",
        band=None if probabilities is None else DensityBand(probabilities=tuple(probabilities)),
        outlines=Outlines(in_mm=in_mm, dense=distance(), breast=distance(), pectoral=distance()),
        reliability=Reliability(
            brier=float(random.uniform(0, 0.2)),
            share_B=share_B,
            probability_B=share_B * np.linspace(0.05, 0.95, NUM_BINS),
            frequency_B=share_B * 0.5,
        ),
        **values,
    )
