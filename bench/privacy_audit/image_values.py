"""What the statistics that leave a hospital tell of single images: tried on the product's own rules.

A coordinator that has two means over nearly the same images subtracts them (a differencing, or tracker,
attack: Denning et al., The tracker: a threat to statistical database security, ACM TODS 4:76, 1979). The site
tells a statistic only over enough images, and only over a set that differs from every other one that it told
of in enough images. Each case here says what the site tells, by its own code, and how far the attacker's
guess of one image's Dice lies from the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.evaluation.images import ImageMetrics
from client.evaluation.statistics import Statistics
from client.evaluation.steadiness import Images, images_to_tell_of
from client.evaluation.suppression import tell
from client.policy.policy import EgressTable
from shared.evaluation.records import Moments

VALUE = "dice_dense"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageValueRow:
    """One way of getting at one image's value.

    Attributes
    ----------
    error
        Distance of the attacker's guess from the image's Dice; None where the site told nothing to guess by.
    guess_error
        Mean distance of the images' values from their mean: what guessing costs.
    """

    attack: str
    answer: str
    error: float | None
    guess_error: float


class Telling:
    """A site that evaluates sets of images one after the other, and tells what its policy lets it tell."""

    def __init__(self, values: Mapping[str, float], rules: EgressTable) -> None:
        self._values, self._rules = values, rules
        self._told: list[Images] = []

    def mean(self, images: Sequence[str]) -> Moments | None:
        """What the site tells when exactly these images are there; None if nothing."""
        told = images_to_tell_of(frozenset(images), self._told, smallest=self._rules.smallest_count)
        if told is None:
            return None
        self._told.append(told)
        return told_mean([self._values[image] for image in sorted(told)], self._rules)


def told_mean(values: Sequence[float], rules: EgressTable) -> Moments | None:
    """The Dice of some images as it leaves a site; None if it does not."""
    images = [
        ImageMetrics(
            example_id=f"image-{number}",
            loss=value,
            dice_dense=value,
            dice_breast=None,
            dice_pectoral=None,
            percent_density=0.0,
            expert_percent_density=None,
        )
        for number, value in enumerate(values)
    ]
    told = tell(Statistics(images=images).evaluation(["dice"]), ["dice"], rules)
    return None if told is None or told.dice is None else told.dice.dense


def attack_image_values(values: Sequence[float], rules: EgressTable) -> list[ImageValueRow]:
    """Try each way; the first value is the one that is wanted.

    Parameters
    ----------
    values
        Dice of a hospital's images, more than four times as many as may be told of.
    """
    names = [f"image-{number:03}" for number in range(len(values))]
    by_name = dict(zip(names, values, strict=True))
    wanted, smallest = names[0], rules.smallest_count
    guess_error = float(np.abs(np.array(values) - np.mean(values)).mean())

    def row(attack: str, answer: str, guess: float | None) -> ImageValueRow:
        error = None if guess is None else abs(guess - by_name[wanted])
        return ImageValueRow(attack=attack, answer=answer, error=error, guess_error=guess_error)

    def naive(with_it: Sequence[str], without: Sequence[str]) -> float:
        total, rest = (sum(by_name[name] for name in some) for some in (with_it, without))
        return total - rest

    rest = names[1:]
    site = Telling(by_name, rules)
    before, after = site.mean(rest), site.mean(names)
    rows = [
        row("two means over n and n + 1 images, without the rules", "both told", naive(names, rest)),
        row(
            "the same, as the site tells them",
            _words(before, after),
            _last_of(before, after, len(rest)),
        ),
    ]
    few = [by_name[name] for name in names[: smallest - 1]]
    rows.append(row(f"a mean over {smallest - 1} images", _words(told_mean(few, rules)), None))
    enough = told_mean([by_name[name] for name in names[:smallest]], rules)
    known = sum(by_name[name] for name in names[1:smallest])
    rows.append(
        row(
            f"a mean over {smallest} images, of which the attacker knows {smallest - 1}",
            _words(enough),
            None if enough is None else smallest * enough.mean - known,
        )
    )
    rows.append(row(*_four_sets(by_name, rules)))
    return rows


def _four_sets(by_name: Mapping[str, float], rules: EgressTable) -> tuple[str, str, float | None]:
    """Four sets that differ in enough images each, whose sums tell one image together.

    Of a base B, two groups G and H of one less than the smallest count and the wanted image w, the sets are
    B, B+G+w, B+G+H, B+H+w: the second and the last less the first and the third are twice w.
    """
    names, smallest = list(by_name), rules.smallest_count
    wanted, group, other = names[0], names[1:smallest], names[smallest : 2 * smallest - 1]
    base = names[2 * smallest - 1 :]
    site = Telling(by_name, rules)
    sets = [base, [*base, *group, wanted], [*base, *group, *other], [*base, *other, wanted]]
    told = [site.mean(images) for images in sets]
    sums = [
        None if mean is None or mean.num_images != len(images) else mean.num_images * mean.mean
        for mean, images in zip(told, sets, strict=True)
    ]
    guess = None if None in sums else _combined(sums)
    return "four means, while images come and go as it suits the attacker", _words(*told), guess


def _combined(sums: Sequence[float | None]) -> float:
    base, one, two, three = (each or 0.0 for each in sums)
    return (one + three - base - two) / 2


def _last_of(before: Moments | None, after: Moments | None, num_before: int) -> float | None:
    """The value of the one image more, if both means are over what the attacker thinks they are over."""
    if (
        before is None
        or after is None
        or (before.num_images, after.num_images) != (num_before, num_before + 1)
    ):
        return None
    return after.num_images * after.mean - before.num_images * before.mean


def _words(*told: Moments | None) -> str:
    if all(each is None for each in told):
        return "nothing told"
    return ", ".join("nothing" if each is None else f"a mean over {each.num_images}" for each in told)
