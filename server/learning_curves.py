"""Learning curves of a run as points, for pictures and pages alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from server.coordinator import Coordinator
from server.lifecycle import RoundState
from server.store.figures import TRAIN_LOSS, Figures
from server.summary import RoundSummary, names_of
from shared.evaluation.measures import MEASURES, Better
from shared.plan import MetricName

Points: TypeAlias = Sequence[tuple[int, float]]

Lines: TypeAlias = Mapping[str, Mapping[int, Figures]]
"""Figures of each site, by its name and by number of the round."""


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
        Of each site, by its name; without points where it tells none, or in aggregate only.
    best
        The best point over all sites, the first of equals; None where there is none, or where values of
        several rounds do not compare. A round that is open, or in which a site is missing, is of other
        images than the rest, and is not looked at.
    """

    name: str
    metric: MetricName
    title: str
    axis: str
    of_all: Points
    of_sites: Sequence[tuple[str, Points]]
    best: tuple[int, float] | None


def lines_of(coordinator: Coordinator, run_id: str, *, at_most: int | None = None) -> Lines:
    """What is told of the sites that a run has asked to train; of many, of the first by name."""
    names = names_of(coordinator)
    ids = sorted(coordinator.histories.sites_of(run_id), key=names.__getitem__)[:at_most]
    told = coordinator.histories.of_sites(run_id, ids)
    return {names[site_id]: told[site_id] for site_id in ids}


def panels(rounds: Sequence[RoundSummary], lines: Lines) -> list[Panel]:
    """Loss of the training, and what the global model measures on the validation parts."""
    measured: tuple[tuple[str, MetricName, str], ...] = (
        ("dice_dense", "dice", "Dense Dice"),
        ("percent_density_r", "percent_density", "Percent density, Pearson's r"),
        ("percent_density_error", "percent_density", "Percent density, mean absolute error (pp)"),
    )
    loss = _panel(rounds, lines, TRAIN_LOSS, "train_loss", "Training loss in the round")
    return [
        loss,
        *(
            # Of the weights that a round began with, so after the round before it.
            _panel(rounds, lines, *each, rounds_ago=1, better=MEASURES[each[0]].better)
            for each in measured
        ),
    ]


def _panel(
    rounds: Sequence[RoundSummary],
    lines: Lines,
    name: str,
    metric: MetricName,
    title: str,
    *,
    rounds_ago: int = 0,
    better: Better | None = None,
) -> Panel:
    of_all = _told(((one.number, one.figures) for one in rounds), name, rounds_ago)
    return Panel(
        name=name,
        metric=metric,
        title=title,
        axis="after round" if rounds_ago else "round",
        of_all=of_all,
        of_sites=[(site, _told(told.items(), name, rounds_ago)) for site, told in lines.items()],
        best=_best(of_all, {number - rounds_ago for number in _whole(rounds)}, better),
    )


def _best(points: Points, whole: Collection[int], better: Better | None) -> tuple[int, float] | None:
    if better is None:
        return None
    badness = better.badness
    comparable = [point for point in points if point[0] in whole]
    return min(comparable, key=lambda point: badness(point[1]), default=None)


def _whole(rounds: Sequence[RoundSummary]) -> set[int]:
    """Numbers of the rounds that are over and count as many sites as any: measures of these compare."""
    most = max((one.num_admitted for one in rounds), default=0)
    return {one.number for one in rounds if one.state is RoundState.AGGREGATED and one.num_admitted == most}


def _told(figures: Iterable[tuple[int, Figures]], name: str, rounds_ago: int) -> Points:
    return [(number - rounds_ago, told[name]) for number, told in figures if name in told]
