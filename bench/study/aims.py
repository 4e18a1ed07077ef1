"""What a study on real films should come to, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.study.arms import PERSONAL, POOLED, local_name
from bench.study.figures import (
    ArmResults,
    density_correlation,
    density_error,
    dice_of,
    four_class_dice,
)

PUBLISHED_FOUR_CLASS_DICE = 0.851
"""Of a pooled ResNet50-U-Net on the same films, mean of five validation folds, ± 0.021 (Tiryaki 2022)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim, as a reader sees it.

    Attributes
    ----------
    judged
        What was reached, beside what was wanted.
    """

    words: str
    judged: str
    is_met: bool


def aims_of(arms: Mapping[str, ArmResults], federated: str) -> list[Aim]:
    """The aims of a federated arm that can be judged by the arms that there are."""
    model = arms[federated]
    dense = model.value(dice_of("dense"))
    aims = [_at_least("dense Dice", dense, 0.82)]
    if POOLED in arms:
        aims.append(
            _at_least("dense Dice as a share of pooled", dense / arms[POOLED].value(dice_of("dense")), 0.99)
        )
    for name in (federated, federated + PERSONAL):
        if name in arms:
            aims += _beside_own(arms, name)
    return [
        *aims,
        _at_least("breast Dice", model.value(dice_of("breast")), 0.97),
        _at_least("pectoral Dice", model.value(dice_of("pectoral")), 0.92),
        _at_least("percent density: r", model.value(density_correlation), 0.90),
        _at_most("percent density: mean absolute error, in points", model.value(density_error), 6.0),
        _at_least(
            "mean Dice of four classes, as published", model.value(four_class_dice), PUBLISHED_FOUR_CLASS_DICE
        ),
    ]


def _beside_own(arms: Mapping[str, ArmResults], name: str) -> list[Aim]:
    """Whether a federated arm is at least as good at each hospital as the hospital's own model."""
    return [
        _at_least(
            f"dense Dice of {name} at {site}, beside its own model's",
            arms[name].value(dice_of("dense"), site),
            arms[local_name(site)].value(dice_of("dense"), site),
        )
        for site in arms[name].num_images
        if local_name(site) in arms
    ]


def _at_least(words: str, reached: float, least: float) -> Aim:
    is_met = reached >= least
    return Aim(words=words, judged=f"{reached:.3f} {'≥' if is_met else '<'} {least:.3f}", is_met=is_met)


def _at_most(words: str, reached: float, most: float) -> Aim:
    is_met = reached <= most
    return Aim(words=words, judged=f"{reached:.1f} {'≤' if is_met else '>'} {most:.1f}", is_met=is_met)
