"""Models beside sites: how each published model did on each site's test part when its run ended.

Finished runs alone are looked at: nobody is asked for anything, and no model goes to a site that has not
taken part in its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.coordinator import Coordinator
from server.summary import last_told
from shared.errors import ConfigError
from shared.evaluation.measures import MEASURES, Figure, figures
from shared.evaluation.pooling import pool
from shared.records import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """One published model.

    Attributes
    ----------
    sites
        The measure at each site that tells it, by name.
    all_sites
        Over the images of all of them; None if nobody tells it.
    worst
        The site with the worst value; None if fewer than two tell it.
    in_aggregate
        Whether sites told it in aggregate only.
    """

    model_id: str
    run_id: str
    sites: Mapping[str, Figure]
    all_sites: Figure | None
    worst: str | None
    in_aggregate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All published models by one measure, oldest first."""

    measure: str
    models: Sequence[ComparedModel]

    @property
    def sites(self) -> list[str]:
        """Every site that tells the measure of any model, by name."""
        return sorted({site for model in self.models for site in model.sites})

    @property
    def is_told(self) -> bool:
        """Whether any model has the measure, of sites or of all."""
        return any(model.all_sites is not None for model in self.models)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"measure": self.measure, "models": [asdict(model) for model in self.models]}


def compare(coordinator: Coordinator, measure: str) -> Comparison:
    """Compare the published models by a measure.

    Raises
    ------
    ConfigError
        There is no such measure.
    """
    if measure not in MEASURES:
        raise ConfigError(f"There is no measure '{measure}'.", f"There are {', '.join(MEASURES)}.")
    models = []
    for published in coordinator.models.all():
        test = last_told(coordinator, published.run_id, Phase.EVALUATE)
        told, in_aggregate = test.by_site, test.together is not None
        found = {site: figures(evaluation).get(measure) for site, evaluation in told.items()}
        sites = {site: figure for site, figure in found.items() if figure is not None}
        pooled = test.over_all if in_aggregate else pool([told[site] for site in sites])
        models.append(
            ComparedModel(
                model_id=published.model_id,
                run_id=published.run_id,
                sites=sites,
                all_sites=figures(pooled).get(measure) if pooled else None,
                worst=_worst(measure, sites),
                in_aggregate=in_aggregate,
            )
        )
    return Comparison(measure=measure, models=models)


def by_badness(measure: str, sites: Mapping[str, Figure]) -> Sequence[tuple[str, Figure]]:
    """The sites that tell a measure, the worst first."""
    badness = MEASURES[measure].better.badness
    return sorted(sites.items(), key=lambda told: (-badness(told[1].value), told[0]))


def _worst(measure: str, sites: Mapping[str, Figure]) -> str | None:
    return by_badness(measure, sites)[0][0] if len(sites) > 1 else None
