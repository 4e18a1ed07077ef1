"""A study's figures as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.study.arms import LOCAL, POOLED
from bench.study.figures import ArmResults, densities, density_correlation, dice_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DENSE = dice_of("dense")


def draw(arms: Mapping[str, ArmResults], file: Path) -> None:
    """Dense Dice of every arm at every hospital, and percent density of a federated model."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(13, 5), layout="constrained", gridspec_kw={"width_ratios": [3, 2]}
    )
    _draw_dice(left, arms)
    _draw_density(right, arms)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _draw_dice(axes: Axes, arms: Mapping[str, ArmResults]) -> None:
    counts = next(iter(arms.values())).num_images
    groups = [None, *counts]
    width = 0.84 / len(arms)
    colours = _colours(list(arms))
    for place, (name, tested) in enumerate(arms.items()):
        found = [tested.figure(DENSE, site) for site in groups]
        at = [group + (place - (len(arms) - 1) / 2) * width for group in range(len(groups))]
        errors = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
        axes.bar(
            at,
            [one.value for one in found],
            width * 0.92,
            yerr=errors,
            label=name,
            color=colours[name],
            error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
        )
    names = [
        f"all\n{sum(counts.values())} images",
        *(f"{site}\n{count} images" for site, count in counts.items()),
    ]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("Dice of dense tissue, mean and 95 % interval")
    axes.set_ylim(0, 1.15)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=4, loc="upper center", fontsize="small", frameon=False)


def _draw_density(axes: Axes, arms: Mapping[str, ArmResults]) -> None:
    shown = next((name for name in arms if name != POOLED and not name.startswith(LOCAL)), next(iter(arms)))
    tested = arms[shown]
    most = 0.0
    for site in tested.num_images:
        measured, expert = densities(np.concatenate(tested.counts(site)))
        axes.scatter(expert, measured, s=22, alpha=0.8, label=site)
        most = max(most, float(measured.max()), float(expert.max()))
    most *= 1.05
    axes.plot([0, most], [0, most], color="#888888", linewidth=0.8)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_aspect("equal")
    axes.set_xlabel("percent density of the expert, %")
    axes.set_ylabel(f"percent density of {shown}, %")
    axes.set_title(f"{shown}, r = {tested.value(density_correlation):.2f}", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", frameon=False)


def _colours(names: list[str]) -> dict[str, str]:
    """Grey for pooled, reds for local models, blues for federations."""
    reds, blues = (
        iter(["#f4a582", "#d6604d", "#b2182b", "#8c2d04"]),
        iter(["#2166ac", "#4393c3", "#92c5de", "#053061"]),
    )
    return {
        name: "#777777"
        if name == POOLED
        else next(reds, "#67001f")
        if name.startswith(LOCAL)
        else next(blues, "#084594")
        for name in names
    }
