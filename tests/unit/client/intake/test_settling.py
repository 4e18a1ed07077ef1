"""What an image itself tells of the pixels that its mask leaves open."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.example import CLASSES, Label
from client.imaging.mammogram import View
from client.intake.masks import settle

INSIDE = np.array([[True]])


def settled(label: Label, view: View | None, *, inside: bool = True) -> int:
    return int(settle(np.array([[label]], np.uint8), inside == INSIDE, view)[0, 0])


@pytest.mark.parametrize("view", [View.CC, View.MLO, None])
@pytest.mark.parametrize("inside", [True, False])
def test_what_a_reader_has_drawn_stays(view: View | None, inside: bool) -> None:
    for label in (*CLASSES, Label.BREAST):
        assert settled(label, view, inside=inside) == label


@pytest.mark.parametrize(
    ("label", "in_cc"),
    [
        (Label.BREAST_OR_PECTORAL, Label.BREAST),
        (Label.ADIPOSE_OR_PECTORAL, Label.ADIPOSE),
        (Label.NOT_BREAST, Label.BACKGROUND),
    ],
)
def test_only_in_a_cc_view_is_a_muscle_that_was_not_drawn_none(label: Label, in_cc: Label) -> None:
    assert settled(label, View.CC) == in_cc
    assert settled(label, View.MLO) == settled(label, None) == label


@pytest.mark.parametrize("label", [Label.NOT_BREAST, Label.NOT_DENSE])
def test_beyond_the_breast_there_is_background(label: Label) -> None:
    assert settled(label, View.MLO, inside=False) == Label.BACKGROUND
    assert settled(label, View.MLO, inside=True) == label
