"""Learning curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from server.summary import RunSummary

_SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_GLOBAL_COLOUR = "#222222"


def draw_curves(summary: RunSummary) -> bytes:
    """Loss and Dice against rounds, the federation in black and each site in its colour; PNG."""
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    loss_axes, dice_axes = figure.subplots(1, 2)
    _draw_losses(loss_axes, summary)
    _draw_dice(dice_axes, summary)
    figure.suptitle(f"{summary.run.name}: {summary.num_finished} rounds", fontsize=12)
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_losses(axes: Axes, summary: RunSummary) -> None:
    for place, site in enumerate(_sites(summary)):
        points = [
            (one.number, part.train_loss)
            for one in summary.rounds
            for part in one.parts
            if part.site == site and part.train_loss is not None
        ]
        _draw_line(axes, points, _SITE_COLOURS[place % len(_SITE_COLOURS)], site)
    means = [(one.number, one.train_loss) for one in summary.rounds if one.train_loss is not None]
    _draw_line(axes, means, _GLOBAL_COLOUR, "all sites, weighted")
    _finish(axes, "Training loss in the round", "round")


def _draw_dice(axes: Axes, summary: RunSummary) -> None:
    for place, site in enumerate(_sites(summary)):
        points = [
            (one.number - 1, part.evaluation.dice_dense)
            for one in summary.rounds
            for part in one.parts
            if part.site == site and part.evaluation and part.evaluation.dice_dense is not None
        ]
        _draw_line(axes, points, _SITE_COLOURS[place % len(_SITE_COLOURS)], site)
    means = [
        (one.number - 1, one.incoming.dice_dense)
        for one in summary.rounds
        if one.incoming and one.incoming.dice_dense is not None
    ]
    _draw_line(axes, means, _GLOBAL_COLOUR, "all sites, weighted")
    axes.set_ylim(0, 1)
    _finish(axes, "Dense Dice of the global model (validation parts)", "after round")


def _draw_line(axes: Axes, points: Sequence[tuple[int, float]], colour: str, label: str) -> None:
    if points:
        places, values = zip(*points, strict=True)
        width = 2.4 if colour == _GLOBAL_COLOUR else 1.2
        axes.plot(places, values, color=colour, linewidth=width, marker=".", markersize=4, label=label)


def _finish(axes: Axes, title: str, axis: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(axis)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _sites(summary: RunSummary) -> list[str]:
    return sorted({part.site for one in summary.rounds for part in one.parts})
