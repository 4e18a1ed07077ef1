"""Learning curves as a picture."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from server.learning_curves import Lines, Panel, Points, panels
from server.summary import RunSummary

_SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_GLOBAL_COLOUR = "#222222"


def draw_curves(summary: RunSummary, lines: Lines) -> bytes:
    """Measures against rounds, the federation in black and each site in its colour; PNG."""
    figure = Figure(figsize=(11, 8), dpi=120, layout="constrained")
    loss, dice, correlation, error = figure.subplots(2, 2).flat
    for axes, panel in zip((loss, dice, correlation, error), panels(summary.rounds, lines), strict=True):
        _draw(axes, panel)
    for axes in (dice, correlation):
        axes.set_ylim(top=1)
    error.set_ylim(bottom=0)
    figure.suptitle(f"{summary.run.name}: {summary.num_finished} rounds", fontsize=12)
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw(axes: Axes, panel: Panel) -> None:
    for place, (site, points) in enumerate(panel.of_sites):
        _draw_line(axes, points, _SITE_COLOURS[place % len(_SITE_COLOURS)], site)
    if panel.name == "train_loss":
        title, label = panel.title, "all sites, weighted"
    else:
        title, label = f"{panel.title}\nof the global model, on the validation parts", "all sites"
    _draw_line(axes, panel.of_all, _GLOBAL_COLOUR, label)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(panel.axis)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _draw_line(axes: Axes, points: Points, colour: str, label: str) -> None:
    if points:
        places, values = zip(*points, strict=True)
        width = 2.4 if colour == _GLOBAL_COLOUR else 1.2
        axes.plot(places, values, color=colour, linewidth=width, marker=".", markersize=4, label=label)
