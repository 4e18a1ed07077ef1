"""A study's figures as a page of Markdown with a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.study.arms import LOCAL, POOLED, local_name
from bench.study.figures import (
    ArmResults,
    Figure,
    Statistic,
    density_bias,
    density_correlation,
    density_error,
    mean_of,
)
from bench.study.results import Result
from shared.files import write_file
from shared.plan import Plan

DENSE, BREAST, PECTORAL = mean_of("dice_dense"), mean_of("dice_breast"), mean_of("dice_pectoral")
COLUMNS: Mapping[str, Statistic] = {
    "dense Dice": DENSE,
    "breast Dice": BREAST,
    "pectoral Dice": PECTORAL,
    "PD r": density_correlation,
    "PD error": density_error,
    "PD bias": density_bias,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The arms of a study that were tested in every fold, by name."""

    plan: Plan
    arms: Mapping[str, ArmResults]
    num_folds: int

    @classmethod
    def of(cls, results: Sequence[Result], plan: Plan, *, num_folds: int) -> Study:
        """Those arms of which no fold is missing."""
        by_arm = {name: list(them) for name, them in groupby(results, key=lambda one: one.arm)}
        whole = {name: ArmResults(them) for name, them in by_arm.items() if len(them) == num_folds}
        return cls(plan=plan, arms=whole, num_folds=num_folds)

    @property
    def sites(self) -> list[str]:
        """The hospitals, by name."""
        return list(next(iter(self.arms.values())).num_images)


def write(study: Study, folder: Path) -> Path:
    """Write page and picture into a folder, named after the plan; returns the page's file."""
    file, picture = folder / f"{study.plan.name}.md", folder / f"{study.plan.name}.png"
    draw(study, picture)
    write_file(file, page(study, picture.name).encode())
    return file


def page(study: Study, picture: str) -> str:
    """The page: every arm over all hospitals, dense Dice at each, and the picture."""
    return "\n".join(
        [
            f"# {study.plan.name}",
            "",
            "Made by `make study`; [what it means](../study.md). Means over test images with 95 % bootstrap",
            "intervals; PD is percent density, its error the mean absolute one, both in points.",
            "",
            *_table(
                ["model", *COLUMNS],
                [
                    [name, *(_words(tested.figure(statistic)) for statistic in COLUMNS.values())]
                    for name, tested in study.arms.items()
                ],
            ),
            "",
            "Dense Dice at each hospital:",
            "",
            *_table(
                ["model", *(f"{site} ({count})" for site, count in _counts(study).items())],
                [
                    [name, *(_words(tested.figure(DENSE, site)) for site in study.sites)]
                    for name, tested in study.arms.items()
                ],
            ),
            "",
            *_comparison(study),
            "",
            f"![Dense Dice of every model at every hospital]({picture})",
            "",
        ]
    )


def _comparison(study: Study) -> list[str]:
    """Each federation beside all data in one place, and at each hospital beside local models."""
    rows = []
    for name in filter(_is_federated, study.arms):
        share = (
            study.arms[name].value(DENSE) / study.arms[POOLED].value(DENSE) if POOLED in study.arms else None
        )
        own, foreign = _gains(study, name)
        rows.append(
            [name, "" if share is None else f"{share:.3f}", *(_by_site(gains) for gains in (own, foreign))]
        )
    return [
        "Dense Dice of the federated models: as a share of the pooled model's, and the gain at each hospital",
        "over its own model, and over the mean of the other hospitals' models:",
        "",
        *_table(["model", "of pooled", "over own", "over others'"], rows),
    ]


def beats_foreign(study: Study) -> bool:
    """Whether every federated model is better, over all hospitals, than local models away from home."""
    return all(
        sum(foreign.values()) > 0
        for name in study.arms
        if _is_federated(name)
        for foreign in [_gains(study, name)[1]]
    )


def _gains(study: Study, arm: str) -> tuple[dict[str, float], dict[str, float]]:
    """Dense Dice at each hospital, less that of its own model, and of the mean of other hospitals' models."""
    own, foreign = {}, {}
    for site in study.sites:
        here = study.arms[arm].value(DENSE, site)
        local = {
            name: tested.value(DENSE, site) for name, tested in study.arms.items() if name.startswith(LOCAL)
        }
        if local_name(site) in local:
            own[site] = here - local.pop(local_name(site))
        if local:
            foreign[site] = here - sum(local.values()) / len(local)
    return own, foreign


def _is_federated(arm: str) -> bool:
    return arm != POOLED and not arm.startswith(LOCAL)


def draw(study: Study, file: Path) -> None:
    """A group of bars for all hospitals and for each, a bar for each arm."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    groups = [None, *study.sites]
    width = 0.8 / len(study.arms)
    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    for place, (name, tested) in enumerate(study.arms.items()):
        found = [tested.figure(DENSE, site) for site in groups]
        at = [group + (place - (len(study.arms) - 1) / 2) * width for group in range(len(groups))]
        errors = [[one.value - one.low for one in found], [one.high - one.value for one in found]]
        axes.bar(at, [one.value for one in found], width * 0.92, yerr=errors, capsize=2, label=name)
    counts = _counts(study)
    names = [f"all\n{sum(counts.values())} images"]
    names += [f"{site}\n{count} images" for site, count in counts.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("Dice of dense tissue, mean and 95 % interval")
    axes.set_ylim(0, 1)
    figure.legend(ncols=len(study.arms), loc="outside lower center")
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _by_site(gains: Mapping[str, float]) -> str:
    return ", ".join(f"{site} {gain:+.3f}" for site, gain in gains.items())


def _counts(study: Study) -> dict[str, int]:
    return next(iter(study.arms.values())).num_images


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _words(figure: Figure) -> str:
    digits = 3 if abs(figure.value) <= 1 else 1
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"
