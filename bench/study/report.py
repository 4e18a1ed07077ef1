"""A study's figures as a page of Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from bench.study.aims import Aim, aims_of
from bench.study.arms import LOCAL, PERSONAL, POOLED, local_name
from bench.study.figures import (
    ArmResults,
    Counts,
    Figure,
    Statistic,
    Values,
    density_bias,
    density_correlation,
    density_error,
    dice_of,
    figure_of,
    four_class_dice,
    pixel_dice_of,
)
from bench.study.picture import draw
from bench.study.results import Result
from shared.files import write_file
from shared.plan import Plan

DENSE = dice_of("dense")
COLUMNS: Mapping[str, Statistic] = {
    "dense Dice": DENSE,
    "dense, all pixels": pixel_dice_of("dense"),
    "four classes": four_class_dice,
    "breast Dice": dice_of("breast"),
    "pectoral Dice": dice_of("pectoral"),
    "PD r": density_correlation,
    "PD error": density_error,
    "PD bias": density_bias,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The arms of a study that were tested in every fold, by name.

    Attributes
    ----------
    untouched
        The same arms on the images on which no setting was ever chosen; none if nothing was chosen.
    """

    plan: Plan
    arms: Mapping[str, ArmResults]
    untouched: Mapping[str, ArmResults]

    @classmethod
    def of(
        cls, results: Sequence[Result], plan: Plan, *, num_folds: int, chosen_on: Collection[str]
    ) -> Study:
        """Those arms of which no fold is missing, in the order of their first results.

        Parameters
        ----------
        chosen_on
            Names of the images on which the plan's settings were chosen.
        """
        by_arm: dict[str, list[Result]] = {}
        for result in results:
            by_arm.setdefault(result.arm, []).append(result)
        whole = {name: them for name, them in by_arm.items() if len(them) == num_folds}
        return cls(
            plan=plan,
            arms={name: ArmResults.of(them) for name, them in whole.items()},
            untouched={
                name: ArmResults.of(them, without=chosen_on) for name, them in whole.items() if chosen_on
            },
        )

    @property
    def num_images(self) -> Mapping[str, int]:
        """Of each hospital, by name."""
        return next(iter(self.arms.values())).num_images

    @property
    def federated(self) -> list[str]:
        """The federations, the one that hospitals would have first; personal models are none."""
        return [
            name
            for name in self.arms
            if name != POOLED and not name.startswith(LOCAL) and not name.endswith(PERSONAL)
        ]


def write(study: Study, folder: Path) -> Path:
    """Write page and picture into a folder, named after the plan; returns the page's file."""
    file, picture = folder / f"{study.plan.name}.md", folder / f"{study.plan.name}.png"
    draw(study.arms, picture)
    write_file(file, page(study, picture.name).encode())
    return file


def page(study: Study, picture: str) -> str:
    """Every arm over all hospitals, then at each, what federating gains, the aims, and the picture."""
    parts = [
        [f"# {study.plan.name}", "", *_head(study), "", *_overall(study.arms)],
        [f"![Dense Dice of every model at every hospital, and percent density]({picture})"],
        ["## At each hospital", "", *_at_each(study)],
    ]
    if study.untouched:
        count = sum(next(iter(study.untouched.values())).num_images.values())
        parts.append(
            [
                f"## The {count} images on which nothing was chosen",
                "",
                "The same models and folds, without the images on which the settings were chosen:",
                "",
                *_overall(study.untouched),
            ]
        )
    if study.federated and _at_home(study.arms) is not None:
        parts.append(["## What federating gains", "", *_gains(study.arms, study.federated)])
    if study.untouched and study.federated:
        parts.append(["## Aims", "", *_aims(study)])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def behind_foreign(study: Study) -> list[str]:
    """The federated models that are no better, over all hospitals, than local models away from home."""
    if not any(name.startswith(LOCAL) for name in study.arms):
        return []
    foreign = _away(study.arms, list(study.num_images))
    return [name for name in study.federated if study.arms[name].value(DENSE) <= foreign]


def _head(study: Study) -> list[str]:
    count = study.num_images
    where = ", ".join(f"{site} {number}" for site, number in count.items())
    model = study.plan.model
    lines = [
        "Made by `make study`; [what it means](../study.md).",
        "",
        f"- {sum(count.values())} images ({where}), each tested once by a model trained without it,",
        f"  at {model.input_height_px} x {model.input_width_px} pixels. In brackets are 95 % intervals.",
        "- Dice is the mean over images; *dense, all pixels* takes the pixels of all images together. *Four",
        "  classes* is the mean over background, adipose tissue, dense tissue and pectoral muscle.",
        "- PD is percent density: Pearson's r, mean absolute error and bias (measured less the expert's),",
        "  the last two in percentage points.",
    ]
    if any(name.endswith(PERSONAL) for name in study.arms):
        lines.append(
            "- A *personal* model is the federation's, fine-tuned by each hospital, and tested there."
        )
    return lines


def _overall(arms: Mapping[str, ArmResults]) -> list[str]:
    rows = [
        [name, *(_words(tested.figure(statistic)) for statistic in COLUMNS.values())]
        for name, tested in arms.items()
    ]
    return _table(["model", *COLUMNS], rows)


def _at_each(study: Study) -> list[str]:
    rows = [
        [name, *(_words(tested.figure(DENSE, site)) for site in study.num_images)]
        for name, tested in study.arms.items()
    ]
    head = ["model", *(f"{site} ({count})" for site, count in study.num_images.items())]
    return ["Dense Dice of each model (row) on each hospital's images (column):", "", *_table(head, rows)]


def _gains(arms: Mapping[str, ArmResults], federated: Sequence[str]) -> list[str]:
    """Each federation beside all data in one place, and beside local models at home and away."""
    home = _at_home(arms)
    assert home is not None
    names = [name for arm in federated for name in (arm, arm + PERSONAL) if name in arms]
    sites: list[str | None] = [None, *home.num_images]
    rows = []
    for site in sites:
        own, away = home.value(DENSE, site), _away(arms, list(home.num_images) if site is None else [site])
        gains = [_words(figure_of([arms[name], home], _difference, site), sign=True) for name in names]
        rows.append([site or "all", f"{own:.3f}", f"{away:.3f}", *gains])
    lines = [
        "Dense Dice of each hospital's own local model, and of the other hospitals' local models, on its",
        "images; then the gain of each federated model over the hospital's own:",
        "",
        *_table(["hospital", "own model", "others' models", *(f"{name}, gain" for name in names)], rows),
        "",
    ]
    own, away = home.value(DENSE), _away(arms, list(home.num_images))
    for name in federated:
        dense = arms[name].value(DENSE)
        over_own, over_others = 100 * (dense / own - 1), 100 * (dense / away - 1)
        words = f"{over_own:+.1f} % over own models, {over_others:+.1f} % over others'"
        if POOLED in arms:
            words += f"; {_words(figure_of([arms[name], arms[POOLED]], _ratio))} of pooled"
        lines.append(f"- {name}: {words}")
    return lines


def _aims(study: Study) -> list[str]:
    name = study.federated[0]
    everywhere, elsewhere = aims_of(study.arms, name), aims_of(study.untouched, name)
    rows = [
        [aim.words, _judged(aim), _judged(other)] for aim, other in zip(everywhere, elsewhere, strict=True)
    ]
    count = sum(study.untouched[name].num_images.values())
    lines = [
        f"Of {name}, on all images and on the {count} on which nothing was chosen:",
        "",
        *_table(["aim", "all images", f"the {count}"], rows),
    ]
    folds = [
        f"{arm} {fmean(values):.3f} ± {stdev(values):.3f}"
        for arm in (POOLED, name)
        if arm in study.arms
        for values in [study.arms[arm].by_fold(four_class_dice)]
    ]
    return [*lines, "", f"Four-class Dice, mean ± standard deviation over folds: {', '.join(folds)}."]


def _judged(aim: Aim) -> str:
    return f"{aim.judged}: {'met' if aim.is_met else 'missed'}"


def _at_home(arms: Mapping[str, ArmResults]) -> ArmResults | None:
    """Every hospital's images under its own local model; None if one was not trained."""
    sites = next(iter(arms.values())).num_images
    if any(local_name(site) not in arms for site in sites):
        return None
    return ArmResults({site: arms[local_name(site)].by_site[site] for site in sites})


def _away(arms: Mapping[str, ArmResults], sites: Sequence[str]) -> float:
    """Dense Dice of hospitals' images under the other hospitals' local models."""
    found = [
        (tested.value(DENSE, site), tested.num_images[site])
        for site in sites
        for name, tested in arms.items()
        if name.startswith(LOCAL) and name != local_name(site)
    ]
    return sum(dice * count for dice, count in found) / sum(count for _dice, count in found)


def _difference(here: Counts, there: Counts) -> Values:
    return DENSE(here) - DENSE(there)


def _ratio(here: Counts, there: Counts) -> Values:
    return DENSE(here) / DENSE(there)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _words(figure: Figure, *, sign: bool = False) -> str:
    digits = 3 if max(abs(figure.value), abs(figure.low), abs(figure.high)) <= 1.5 else 1
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{figure.value:{form}} ({figure.low:{form}} to {figure.high:{form}})"
