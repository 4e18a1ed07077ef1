"""Which images test which model: folds by patient within each hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from bench.learning import PatientExample
from client.imaging.example import Example

Hospitals = Mapping[str, Sequence[PatientExample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One split of every hospital's examples; no patient is in both parts.

    Attributes
    ----------
    number
        From 1.
    train, test
        Examples by hospital.
    """

    number: int
    train: dict[str, list[Example]]
    test: dict[str, list[Example]]


def folds_of(hospitals: Hospitals, *, num_folds: int, seed: int) -> list[Fold]:
    """Split the patients of each hospital over the folds; each is in the test part of exactly one.

    A hospital goes on counting where the one before has stopped, so that the folds are of one size as well.
    """
    random, places = np.random.default_rng(seed), count()
    fold_of: dict[tuple[str, str], int] = {}
    for name in sorted(hospitals):
        patients = sorted({one.patient for one in hospitals[name]})
        for chosen in random.permutation(len(patients)):
            fold_of[name, patients[chosen]] = next(places) % num_folds + 1

    def part(number: int, *, tested: bool) -> dict[str, list[Example]]:
        return {
            name: [one.example for one in hospitals[name] if (fold_of[name, one.patient] == number) is tested]
            for name in sorted(hospitals)
        }

    return [
        Fold(number=number, train=part(number, tested=False), test=part(number, tested=True))
        for number in range(1, num_folds + 1)
    ]
