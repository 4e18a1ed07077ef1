"""Learning curves as what the page's script draws: JSON, each panel with one row of values for each line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.learning_curves import Panel, Points
from shared.plan import MetricName, Plan

MOST_LINES = 24
"""Sites whose lines are drawn: a picture of more tells nothing of any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A panel of the page.

    Attributes
    ----------
    unasked
        The metric that would be drawn, if the plan asks nobody for it; None where it does.
    best
        Place and value of the best point over all sites.
    """

    name: str
    title: str
    unasked: MetricName | None
    num_undrawn: int
    best: tuple[int, float] | None


def charts_of(drawn: Sequence[Panel], plan: Plan, *, num_sites: int) -> list[Chart]:
    """What is drawn of a run, and what cannot be, where so many sites were asked to train."""
    return [
        Chart(
            name=panel.name,
            title=panel.title,
            unasked=None if panel.metric in plan.metrics else panel.metric,
            num_undrawn=num_sites - len(panel.of_sites),
            best=panel.best,
        )
        for panel in drawn
    ]


def json_of(drawn: Sequence[Panel]) -> str:
    """The lines of all panels, JSON."""
    return json.dumps([_lines(panel) for panel in drawn], separators=(",", ":"))


def _lines(panel: Panel) -> dict[str, Any]:
    sites = panel.of_sites
    places = sorted({place for points in (panel.of_all, *(each for _, each in sites)) for place, _ in points})
    return {
        "name": panel.name,
        "axis": panel.axis,
        "places": places,
        "all": _row(panel.of_all, places),
        "sites": [{"name": name, "values": _row(points, places)} for name, points in sites],
        "best": panel.best,
    }


def _row(points: Points, places: Sequence[int]) -> list[float | None]:
    by_place = dict(points)
    return [round(by_place[place], 6) if place in by_place else None for place in places]
