"""What labels leave open, and what a label map shows whole."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.example import CLASSES, POSSIBLE, Drawn, Label, shown


def drawn(*labels: Label) -> str:
    return Drawn.on(np.array([labels], np.uint8)).names


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (CLASSES, "breast dense pectoral"),
        ((Label.BACKGROUND,), "breast dense pectoral"),
        ((Label.BREAST, Label.BACKGROUND), "breast pectoral"),
        ((Label.BREAST, Label.NOT_BREAST), "breast"),
        ((Label.ADIPOSE, Label.DENSE, Label.NOT_BREAST), "breast dense"),
        ((Label.ADIPOSE_OR_PECTORAL, Label.DENSE, Label.BACKGROUND), "dense"),
        ((Label.BREAST_OR_PECTORAL, Label.NOT_BREAST), ""),
        ((Label.DENSE, Label.NOT_DENSE), "dense"),
        ((Label.UNKNOWN, Label.DENSE), ""),
    ],
)
def test_a_segment_is_whole_when_every_pixel_says_whether_it_belongs(
    labels: tuple[Label, ...], names: str
) -> None:
    assert drawn(*labels) == names
    assert Drawn.named(names).names == names


def test_percent_density_needs_the_breast_and_the_dense_tissue() -> None:
    assert Drawn.named("breast dense").density
    assert not Drawn.named("breast pectoral").density
    assert not Drawn.named("dense").density


def test_words_for_people() -> None:
    assert (Drawn.named("breast dense").words, Drawn.named("").words) == ("breast, dense", "in part")


def test_every_label_is_one_class_or_open_between_several_and_is_shown_as_one_of_them() -> None:
    for label in Label:
        assert (len(POSSIBLE[label]) == 1) == (label in CLASSES)
        assert Label(int(shown(np.array([[label]], np.uint8))[0, 0])) in POSSIBLE[label]
