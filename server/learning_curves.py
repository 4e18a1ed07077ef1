"""Learning curves of a run as points, for pictures and pages alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from server.summary import RoundSummary, RunSummary, SitePart
from shared.evaluation.measures import MEASURES, Better
from shared.plan import MetricName

Points: TypeAlias = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One measure against rounds.

    Attributes
    ----------
    metric
        What a plan must name for sites to tell of it.
    axis
        What stands under the numbers of rounds.
    of_all
        Over all sites, by round.
    of_sites
        Of each site, by its name; without points where it tells none.
    better
        Which values are good; None where values of several rounds do not compare.
    """

    name: str
    metric: MetricName
    title: str
    axis: str
    of_all: Points
    of_sites: Sequence[tuple[str, Points]]
    better: Better | None

    @property
    def best(self) -> tuple[int, float] | None:
        """The best point over all sites, the first of equals; None where there is none."""
        if self.better is None:
            return None
        badness = self.better.badness
        return min(self.of_all, key=lambda point: badness(point[1]), default=None)


def panels(summary: RunSummary) -> list[Panel]:
    """Loss of the training, and what the global model measures on the validation parts."""
    loss = _panel(
        summary,
        "train_loss",
        "train_loss",
        "Training loss in the round",
        of_round=lambda one: one.train_loss,
        of_part=lambda part: part.train_loss,
    )
    measured: tuple[tuple[str, MetricName, str], ...] = (
        ("dice_dense", "dice", "Dense Dice"),
        ("percent_density_r", "percent_density", "Percent density, Pearson's r"),
        ("percent_density_error", "percent_density", "Percent density, mean absolute error (pp)"),
    )
    return [loss, *(_of_measure(summary, *each) for each in measured)]


def _of_measure(summary: RunSummary, name: str, metric: MetricName, title: str) -> Panel:
    """Of the weights that a round began with, so after the round before it."""
    return _panel(
        summary,
        name,
        metric,
        title,
        of_round=lambda one: one.value(name),
        of_part=lambda part: part.value(name),
        rounds_ago=1,
        better=MEASURES[name].better,
    )


def _panel(
    summary: RunSummary,
    name: str,
    metric: MetricName,
    title: str,
    *,
    of_round: Callable[[RoundSummary], float | None],
    of_part: Callable[[SitePart], float | None],
    rounds_ago: int = 0,
    better: Better | None = None,
) -> Panel:
    sites: dict[str, list[tuple[int, float | None]]] = {}
    for one in summary.rounds:
        for part in one.parts:
            sites.setdefault(part.site, []).append((one.number - rounds_ago, of_part(part)))
    return Panel(
        name=name,
        metric=metric,
        title=title,
        axis="after round" if rounds_ago else "round",
        of_all=_told((one.number - rounds_ago, of_round(one)) for one in summary.rounds),
        of_sites=[(site, _told(points)) for site, points in sorted(sites.items())],
        better=better,
    )


def _told(points: Iterable[tuple[int, float | None]]) -> Points:
    return [(place, value) for place, value in points if value is not None]
