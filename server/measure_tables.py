"""Evaluations as tables of figures, for terminals and model cards alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from server.lifecycle import AnswerState
from server.summary import SitePart, Telling
from shared.evaluation.measures import (
    IN_AGGREGATE,
    MEASURES,
    PER_ROUND,
    SEGMENTS,
    UNTOLD,
    Figure,
    figure_text,
    figures,
)
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation

ALL_SITES = "all sites"
SUPPRESSED = "suppressed"
COMMON = "common"
OWN_MODELS = f"Each site's own model beside the common one ('{COMMON}': it keeps that)"
OF_OWN_MODELS = [name for name in PER_ROUND if name != "loss"]
"""Measures by which both are set side by side."""

PERCENT_DENSITY = "Percent density, with 95 % limits of agreement"

GROUPS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "Overlap with the expert's segments (Dice)": [f"dice_{segment}" for segment in SEGMENTS],
        PERCENT_DENSITY: [name for name in MEASURES if name.startswith("percent_density_")],
        **{
            f"Hausdorff distance of the outlines{words}": [
                f"hausdorff{percentile}_{segment}_{unit}" for unit in ("mm", "px") for segment in SEGMENTS
            ]
            for percentile, words in (("_95", ", 95th percentile"), ("", ""))
        },
        "Density bands (uncalibrated) beside categories": [
            name for name in MEASURES if name.startswith(("category_", "band_"))
        ],
        "Probability of dense tissue": ["brier", "calibration_error"],
    }
)
"""Titles of tables, and the measures in each."""

EXPLANATION = (
    "Of each image at the scale of the network's input, then over images; in brackets, 95 % intervals. "
    f"'{SUPPRESSED}' and '{UNTOLD}': there are fewer such images than the site tells of, or none. "
    f"'{IN_AGGREGATE}': the plan lets out what all sites tell together, and nothing of one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureTable:
    """A group of measures: a row for each site, and one for all of them; every cell is text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def measure_tables(of: Telling) -> list[MeasureTable]:
    """The measures of some sites and of all their images, without groups that nobody tells of."""
    parts, pooled = of.parts, of.over_all
    lines = [(part.site, _images(part), _figures(part.evaluation)) for part in parts]
    lines.append((ALL_SITES, str(pooled.num_examples) if pooled else "", _figures(pooled)))
    tables = []
    for title, names in GROUPS.items():
        told = [name for name in names if any(name in found for _, _, found in lines)]
        if told:
            rows = [
                (site, images, *[figure_text(name, found.get(name)) for name in told])
                for site, images, found in lines
            ]
            head = ("site", "images", *[MEASURES[name].heading for name in told])
            tables.append(MeasureTable(title=title, head=head, rows=rows))
    return tables + _own_models(parts)


def density_table(of: Telling) -> MeasureTable | None:
    """Percent density beside the experts' of some sites and of all their images; None if nobody tells it."""
    return next((table for table in measure_tables(of) if table.title == PERCENT_DENSITY), None)


def _own_models(parts: Sequence[SitePart]) -> list[MeasureTable]:
    """The common model and the sites' own ones; over all images, what the sites go on with."""
    told = [(part.site, part.evaluation, part.personal) for part in parts if part.evaluation is not None]
    if not any(own for _, _, own in told):
        return []
    everywhere, used = (
        pool([common for _, common, _ in told]),
        pool([own or common for _, common, own in told]),
    )
    both = [*told, (ALL_SITES, everywhere, used)]
    words = [MEASURES[name].words for name in OF_OWN_MODELS]
    head = ("site", "images", *[each for name in words for each in (name, f"{name}, own")])
    rows = []
    for site, common, own in both:
        figures_of = _figures(common), _figures(own)
        cells = [
            figure_text(name, found.get(name)) if found else COMMON
            for name in OF_OWN_MODELS
            for found in figures_of
        ]
        rows.append((site, str(common.num_examples) if common else "", *cells))
    return [MeasureTable(title=OWN_MODELS, head=head, rows=rows)]


def _images(part: SitePart) -> str:
    if part.evaluation is not None:
        return str(part.evaluation.num_examples)
    if part.in_aggregate:
        return IN_AGGREGATE
    return SUPPRESSED if part.state is AnswerState.ADMITTED else part.state.value


def _figures(evaluation: Evaluation | None) -> Mapping[str, Figure]:
    return figures(evaluation) if evaluation else {}
