"""The outline and the looks of what was taken for a breast."""

from __future__ import annotations

import numpy as np
import pytest

from bench.outliers import DRAWINGS, drawn, quarter_turn, upside_down
from client.imaging.appearance import appearance_of, outline_of
from client.imaging.mammogram import Mammogram
from client.imaging.preparation import prepare
from deploy.demo.phantoms.phantom import make_phantom
from deploy.demo.phantoms.vendors import GE
from shared.appearance import QUANTITIES
from shared.errors import NotMammogramError

Picture = np.ndarray


def phantom(view: str = "MLO", spacing_mm: float = 0.5) -> np.ndarray:
    drawn = make_phantom(4, density_category="c", view=view, laterality="L", vendor=GE, spacing_mm=spacing_mm)
    return drawn.stored_HW.astype(np.float32)


def picture(image_HW: np.ndarray) -> Picture:
    return prepare(Mammogram(pixels_HW=np.ascontiguousarray(image_HW, np.float32))).image_HW


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_a_breast_has_the_outline_of_one(view: str) -> None:
    outline = outline_of(picture(phantom(view)))

    assert outline.fault() is None
    assert outline.at_wall > 0.95
    assert outline.at_far_edge < 0.1
    assert outline.solidity > 0.88


def test_a_breast_upside_down_has_its_outline_still() -> None:
    assert outline_of(picture(upside_down(phantom()))).fault() is None


def test_a_breast_turned_by_a_quarter_has_not() -> None:
    assert outline_of(picture(quarter_turn(phantom(), np.random.default_rng(0)))).fault() is not None


@pytest.mark.parametrize("kind", ["photograph", "text", "hand"])
def test_what_is_drawn_from_edge_to_edge_or_in_strips_has_not(kind: str) -> None:
    for image_HW in drawn(kind, 3):
        try:
            prepared_HW = picture(image_HW)
        except NotMammogramError:
            continue
        fault = outline_of(prepared_HW).fault()
        assert fault is not None
        assert "\n" not in fault


def test_an_outline_is_measured_in_shares_of_its_picture() -> None:
    # A rectangle of 60 rows and 40 columns with a bite of 20 x 20 out of its right side.
    picture_HW = np.full((60, 40), 40_000, np.uint16)
    picture_HW[20:40, 20:] = 0

    outline = outline_of(picture_HW)

    assert outline.at_wall == 1
    assert outline.at_far_edge == pytest.approx(2 / 3, abs=0.05)
    assert outline.solidity == pytest.approx(2000 / 2400, abs=0.02)
    assert outline.proportions == pytest.approx(1.5, abs=0.02)


def test_quantities_are_finite_whatever_the_picture() -> None:
    bare = np.zeros((40, 30), np.uint16)
    bare[:, :2] = 65535
    for picture_HW in (bare, np.full((1, 700), 9, np.uint16), np.full((300, 1), 65535, np.uint16)):
        values_Q = appearance_of(picture_HW)
        assert values_Q.shape == (len(QUANTITIES),)
        assert np.isfinite(values_Q).all()
        assert np.abs(values_Q).max() < 100


def test_quantities_hardly_depend_on_the_number_of_pixels() -> None:
    fine, coarse = (
        dict(zip(QUANTITIES, appearance_of(picture(phantom(spacing_mm=mm))), strict=True))
        for mm in (0.3, 0.5)
    )

    for name in ("grey_50", "bright", "depth_1", "filled", "solidity", "proportions"):
        assert fine[name] == pytest.approx(coarse[name], abs=0.1), name


def test_every_drawing_differs_from_a_breast_in_some_quantity() -> None:
    breasts = np.array([appearance_of(picture(phantom(view))) for view in ("CC", "MLO")])
    for kind in DRAWINGS:
        for image_HW in drawn(kind, 1):
            try:
                values_Q = appearance_of(picture(image_HW))
            except NotMammogramError:
                continue
            assert np.abs(values_Q - breasts).min(axis=0).max() > 0.1, kind
