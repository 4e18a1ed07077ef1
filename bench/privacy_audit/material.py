"""The pictures that an audit is made on: phantoms made on the spot, or a research archive's."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.learning import PatientExample, load_examples
from client.imaging.example import Label
from deploy.demo.phantoms import HOLOGIC, write_hospital
from deploy.demo.phantoms.anatomy import DensityCategory

SPACING_MM = 0.5
MIX: dict[DensityCategory, float] = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Pictures with label maps, of women that are in one part each.

    Attributes
    ----------
    attacked
        Of hospitals that are attacked.
    attackers
        Of the attacker, who has pictures of other women, and of hospitals that are not attacked.
    unseen
        Of nobody: to tell whether anything is learnt.
    """

    name: str
    attacked: tuple[PatientExample, ...]
    attackers: tuple[PatientExample, ...]
    unseen: tuple[PatientExample, ...]


def phantoms(num_women: int, *, seed: int) -> Material:
    """Phantoms of women of whom each density category has as many."""
    with tempfile.TemporaryDirectory() as folder:
        hospital = Path(folder) / "hospital-audit"
        for _ in write_hospital(
            hospital,
            vendor=HOLOGIC,
            patients=num_women,
            seed=seed,
            density_mix=MIX,
            spacing_mm=SPACING_MM,
        ):
            pass
        return shared_out("phantoms", load_examples(hospital), seed=seed)


def films(folder: Path, *, seed: int) -> Material:
    """The pictures of a research archive that have a label map."""
    drawn = [each for each in load_examples(folder) if each.example.labels_HW is not None]
    return shared_out(folder.name, drawn, seed=seed)


def shared_out(name: str, pictures: Sequence[PatientExample], *, seed: int) -> Material:
    """Two fifths of the women to those that are attacked, two fifths to the attacker, the rest to nobody."""
    women = np.random.default_rng(seed).permutation(sorted({each.patient for each in pictures})).tolist()
    one, two = 2 * len(women) // 5, 4 * len(women) // 5

    def of(some: Sequence[str]) -> tuple[PatientExample, ...]:
        return tuple(each for each in pictures if each.patient in set(some))

    return Material(name=name, attacked=of(women[:one]), attackers=of(women[one:two]), unseen=of(women[two:]))


def percent_density(picture: PatientExample) -> float:
    """Of the label map, in %; 0 of one without a breast."""
    labels_HW = picture.example.labels_HW
    assert labels_HW is not None
    dense, fat = (int((labels_HW == label).sum()) for label in (Label.DENSE, Label.ADIPOSE))
    return 100 * dense / max(dense + fat, 1)
