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
    """Measures against rounds, the federation in black and each site in its colour; PNG."""
    figure = Figure(figsize=(11, 8), dpi=120, layout="constrained")
    loss_axes, dice_axes, correlation_axes, error_axes = figure.subplots(2, 2).flat
    _draw_losses(loss_axes, summary)
    _draw_measure(dice_axes, summary, "dice_dense", "Dense Dice")
    _draw_measure(correlation_axes, summary, "percent_density_r", "Percent density, Pearson's r")
    _draw_measure(error_axes, summary, "percent_density_error", "Percent density, mean absolute error (pp)")
    for axes in (dice_axes, correlation_axes):
        axes.set_ylim(top=1)
    error_axes.set_ylim(bottom=0)
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


def _draw_measure(axes: Axes, summary: RunSummary, measure: str, title: str) -> None:
    """A measure of the global model on the validation parts, after each round."""
    for place, site in enumerate(_sites(summary)):
        points = [
            (one.number - 1, value)
            for one in summary.rounds
            for part in one.parts
            if part.site == site and (value := part.value(measure)) is not None
        ]
        _draw_line(axes, points, _SITE_COLOURS[place % len(_SITE_COLOURS)], site)
    pooled = [(one.number - 1, value) for one in summary.rounds if (value := one.value(measure)) is not None]
    _draw_line(axes, pooled, _GLOBAL_COLOUR, "all sites")
    _finish(axes, f"{title}\nof the global model, on the validation parts", "after round")


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
