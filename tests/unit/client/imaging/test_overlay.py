"""The picture for people."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from client.imaging.example import Label
from client.imaging.mammogram import Mammogram
from client.imaging.overlay import (
    BREAST,
    DENSE,
    MARGIN_PX,
    PANEL_HEIGHT_PX,
    PECTORAL,
    draw_overlay,
    encode_png,
)
from client.imaging.preparation import PreparedImage, prepare


def prepare_drawing(*, mirrored: bool = False) -> tuple[PreparedImage, np.ndarray]:
    y, x = np.mgrid[:600, :400]
    breast_HW = ((y - 300) / 250) ** 2 + (x / 300) ** 2 < 1
    pixels_HW = np.where(breast_HW, 100 + x, 0).astype(np.float32)
    prepared = prepare(Mammogram(pixels_HW=pixels_HW[:, ::-1].copy() if mirrored else pixels_HW))
    labels_HW = np.where(prepared.breast_HW, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    labels_HW[200:300, 100:200] = Label.DENSE
    labels_HW[:150, :60][labels_HW[:150, :60] > 0] = Label.PECTORAL
    return prepared, labels_HW


def open_png(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    return np.asarray(picture).astype(int)


def test_every_segment_is_drawn_in_its_colour_on_the_right_hand_panel_only() -> None:
    drawn_HWC = open_png(
        encode_png(draw_overlay(*prepare_drawing(), "Percent density 12.0 %", ("first", "second")))
    )
    body_HWC = drawn_HWC[-(PANEL_HEIGHT_PX + 60) : -90]
    middle = drawn_HWC.shape[1] // 2
    for colour in (BREAST, DENSE, PECTORAL):
        at_HW = (body_HWC == np.array(colour)).all(axis=2)
        assert at_HW[:, middle:].sum() > 100
        assert not at_HW[:, :middle].any()


def test_the_picture_is_turned_as_in_the_file() -> None:
    prepared, labels_HW = prepare_drawing(mirrored=True)
    assert prepared.geometry.mirrored
    drawn_HWC = open_png(encode_png(draw_overlay(prepared, labels_HW, "h", ())))
    pectoral_HW = (drawn_HWC[:-100] == np.array(PECTORAL)).all(axis=2)
    # The chest wall of a mirrored file is at the right: so is the muscle.
    assert np.flatnonzero(pectoral_HW.any(axis=0)).min() > 0.75 * drawn_HWC.shape[1]


def test_a_long_line_widens_the_picture_instead_of_leaving_it() -> None:
    prepared, labels_HW = prepare_drawing()
    narrow = open_png(encode_png(draw_overlay(prepared, labels_HW, "h", ("x",))))
    wide = open_png(encode_png(draw_overlay(prepared, labels_HW, "h", ("a warning of many words " * 10,))))
    assert wide.shape[1] > narrow.shape[1]
    assert (wide[:, -MARGIN_PX + 2 :] == wide[0, 0]).all()
