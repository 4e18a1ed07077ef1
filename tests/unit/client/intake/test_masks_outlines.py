"""Outlines become pixels: LabelMe's shapes, classes by name, painting order and contradictions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.intake.masks import masks_in
from client.intake.masks.drawing import MAX_REGIONS, Drawing
from client.intake.masks.layers import Layer, layer_named
from client.intake.masks.mask_file import Labels
from shared.errors import IntakeError, MaskError

HEIGHT, WIDTH = 20, 30
SHAPE = (HEIGHT, WIDTH)
WHOLE = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def shape(label: str, points: list[list[float]], kind: str = "polygon") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def write(folder: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    document = {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "1.2.3.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **changes,
    }
    path = folder / "1.2.3.json"
    path.write_text(json.dumps(document))
    return path


def read(path: Path) -> Labels:
    (mask,) = masks_in(path, None)
    return mask.read(SHAPE)


def drawn(points: list[list[float]]) -> Mask:
    drawing = Drawing(SHAPE, "LabelMe")
    drawing.add_polygon(Layer.BREAST, np.array(points, np.float64))
    return drawing.declare(Layer.BREAST)


def inside_by_rays(points: list[list[float]]) -> Mask:
    """Even-odd rule at every pixel's centre, edge by edge."""
    inside_HW = np.zeros(SHAPE, np.bool_)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                if (y0 <= y) != (y1 <= y) and x >= x0 + (y - y0) * ((x1 - x0) / (y1 - y0)):
                    inside_HW[row, column] ^= True
    return inside_HW


def test_a_breast_and_its_dense_tissue_are_the_usual_two_regions(tmp_path: Path) -> None:
    regions = shape("dense", box(4, 5, 8, 9)), shape("breast", box(0, 2, 12, 18))
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:18, :12] = Label.ADIPOSE
    expected[5:9, 4:8] = Label.DENSE
    path = write(tmp_path, *regions, flags={"no pectoral": True})
    assert read(path).tolist() == expected.tolist()
    # Of a mask that does not speak of the muscle, nobody knows where it lies.
    expected[expected == Label.BACKGROUND] = Label.NOT_BREAST
    expected[expected == Label.ADIPOSE] = Label.ADIPOSE_OR_PECTORAL
    assert read(write(tmp_path, *regions)).tolist() == expected.tolist()


def test_the_pectoral_muscle_is_cut_out_of_a_breast_that_includes_it(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape("pectoral", box(0, 0, 5, 5)),
        shape("breast", box(0, 0, 12, 18)),
        shape("dense", box(6, 6, 8, 8)),
    )
    labels_HW = read(path)
    assert [np.count_nonzero(labels_HW == label) for label in (1, 2, 3)] == [12 * 18 - 25 - 4, 4, 25]


def test_several_regions_of_a_class_are_joined_where_they_overlap(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape("breast", WHOLE),
        shape("dense", box(0, 0, 4, 4)),
        shape("dense", box(2, 2, 6, 6)),
    )
    assert np.count_nonzero(read(path) == 2) == 16 + 16 - 4


def test_a_rectangle_is_drawn_from_any_two_opposite_corners(tmp_path: Path) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", [[8, 9], [4, 5]], "rectangle"))
    assert np.argwhere(read(path) == 2).tolist() == [
        [row, column] for row in range(5, 9) for column in range(4, 8)
    ]


def test_a_circle_has_the_area_of_its_radius(tmp_path: Path) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", [[15, 10], [18, 14]], "circle"))
    dense_HW = read(path) == 2
    assert np.count_nonzero(dense_HW) == pytest.approx(math.pi * 5**2, rel=0.05)
    assert np.argwhere(dense_HW).mean(axis=0).tolist() == pytest.approx([9.5, 14.5])


def test_what_reaches_beyond_the_picture_is_cut_off_without_bending_the_outline() -> None:
    triangle = [[-30.0, 10.0], [30.0, -20.0], [30.0, 40.0]]
    assert drawn(triangle).tolist() == inside_by_rays(triangle).tolist()
    assert drawn(box(-900, -900, 900, 900)).all()
    assert not drawn(box(40, 5, 50, 10)).any()


@given(
    st.lists(
        st.tuples(st.floats(-40, 60), st.floats(-40, 60)).map(lambda point: [round(x, 3) for x in point]),
        min_size=3,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_polygon_holds_the_pixels_whose_centre_is_inside(points: list[list[float]]) -> None:
    # Within this distance of an edge rounding may decide either way.
    differ = np.argwhere(drawn(points) != inside_by_rays(points))
    for row, column in differ:
        distances = [
            abs((x1 - x0) * (y0 - row - 0.5) - (x0 - column - 0.5) * (y1 - y0))
            / (math.hypot(x1 - x0, y1 - y0) or 1)
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True)
        ]
        assert min(distances) < 1e-6


def test_neighbours_share_no_pixel_and_leave_none_out() -> None:
    left = drawn([[0, 0], [17.5, 0], [9.5, 20], [0, 20]])
    right = drawn([[30, 0], [17.5, 0], [9.5, 20], [30, 20]])
    assert (left ^ right).all()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("Fibroglandular_Tissue", Layer.DENSE),
        (" FGT ", Layer.DENSE),
        ("fatty", Layer.ADIPOSE),
        ("whole-breast", Layer.BREAST),
        ("Pectoralis  Major", Layer.PECTORAL),
        ("BACKGROUND", Layer.BACKGROUND),
        ("no-dense", Layer.NO_DENSE),
        ("No Pectoral", Layer.NO_PECTORAL),
        ("breast_without_pectoral", Layer.BREAST_WITHOUT_PECTORAL),
        ("dens", None),
        ("", None),
    ],
)
def test_class_names_are_known_by_their_synonyms(name: str, layer: Layer | None) -> None:
    assert layer_named(name) is layer


def test_an_unknown_class_is_refused_and_not_quoted(tmp_path: Path) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", WHOLE), shape("Jane Doe", WHOLE))
    with pytest.raises(MaskError, match="unknown") as caught:
        read(path)
    assert "Doe" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("name", ["pectoral", "background"])
def test_a_mask_without_the_breast_and_its_dense_tissue_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MaskError, match="no class for the breast"):
        read(write(tmp_path, shape(name, WHOLE)))


def test_adipose_tissue_without_a_word_on_the_dense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="where the dense tissue is"):
        read(write(tmp_path, shape("adipose", WHOLE)))


UPPER, LOWER, MUSCLE = box(0, 0, 30, 10), box(0, 10, 30, 20), box(0, 0, 5, 5)


@pytest.mark.parametrize(
    ("drawn", "flags", "around", "inside"),
    [
        (["breast"], [], Label.NOT_BREAST, Label.BREAST_OR_PECTORAL),
        (["breast"], ["no dense"], Label.NOT_BREAST, Label.ADIPOSE_OR_PECTORAL),
        (["breast"], ["no pectoral"], Label.BACKGROUND, Label.BREAST),
        (["breast"], ["no dense", "no pectoral"], Label.BACKGROUND, Label.ADIPOSE),
        (["breast without pectoral"], [], Label.NOT_BREAST, Label.BREAST),
        (["breast without pectoral"], ["no dense"], Label.NOT_BREAST, Label.ADIPOSE),
        (["adipose"], ["no dense"], Label.NOT_BREAST, Label.ADIPOSE),
        (["dense"], [], Label.NOT_DENSE, Label.DENSE),
        (["dense"], ["no pectoral"], Label.NOT_DENSE, Label.DENSE),
    ],
)
def test_what_a_reader_has_not_drawn_stays_open(
    tmp_path: Path, drawn: list[str], flags: list[str], around: Label, inside: Label
) -> None:
    shapes = [shape(name, LOWER) for name in drawn]
    labels_HW = read(write(tmp_path, *shapes, flags=dict.fromkeys(flags, True)))
    assert (labels_HW[:10] == around).all()
    assert (labels_HW[10:] == inside).all()


def test_a_muscle_that_is_drawn_leaves_nothing_open_but_the_tissue(tmp_path: Path) -> None:
    labels_HW = read(write(tmp_path, shape("breast", UPPER), shape("pectoral", MUSCLE)))
    assert (labels_HW[:5, :5] == Label.PECTORAL).all()
    assert (labels_HW[:10, 5:] == Label.BREAST).all()
    assert (labels_HW[10:] == Label.BACKGROUND).all()


def test_a_flag_that_is_not_ticked_says_nothing(tmp_path: Path) -> None:
    labels_HW = read(write(tmp_path, shape("breast", WHOLE), flags={"no dense": False}))
    assert (labels_HW == Label.BREAST_OR_PECTORAL).all()


def test_a_statement_may_be_a_shape_of_any_form(tmp_path: Path) -> None:
    statements = [shape(name, [[1, 1]], "point") for name in ("no dense", "No muscle")]
    assert (read(write(tmp_path, shape("breast", WHOLE), *statements)) == Label.ADIPOSE).all()


@pytest.mark.parametrize("name", ["dense", "pectoral"])
def test_something_and_none_of_it_at_once_is_a_contradiction(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape(name, WHOLE), flags={f"no {name}": True})
    with pytest.raises(MaskError, match="contradict"):
        read(path)


@pytest.mark.parametrize("name", ["dense", "adipose"])
def test_tissue_on_the_pectoral_muscle_is_a_contradiction_beyond_a_few_pixels(
    tmp_path: Path, name: str
) -> None:
    others = [
        shape("breast", WHOLE),
        shape("dense", box(25, 15, 30, 20)),
        shape("pectoral", box(0, 0, 10, 10)),
    ]
    read(write(tmp_path, *others, shape(name, box(9.6, 0, 20, 10))))
    with pytest.raises(MaskError, match="contradict"):
        read(write(tmp_path, *others, shape(name, box(8, 0, 20, 10))))


def test_an_outline_of_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", WHOLE), imageWidth=WIDTH + 1)
    with pytest.raises(MaskError, match="different sizes"):
        read(path)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("line", [[0, 0], [5, 5]]),
        ("point", [[0, 0]]),
        ("linestrip", [[0, 0], [5, 5], [9, 2]]),
        ("mask", [[0, 0], [5, 5]]),
        ("rectangle", [[0, 0], [5, 5], [3, 3]]),
        ("circle", [[0, 0]]),
        ("polygon", [[0, 0], [5, 5]]),
        ("polygon", []),
    ],
)
def test_a_shape_without_area_is_refused(tmp_path: Path, kind: str, points: list[list[float]]) -> None:
    with pytest.raises(MaskError):
        read(write(tmp_path, shape("breast", WHOLE), shape("dense", points, kind)))


ATTACKS = {
    "a vertex that is no number": "[[0,0],[NaN,0],[9,9]]",
    "an endless vertex": "[[0,0],[Infinity,0],[9,9]]",
    "a vertex beyond floats": "[[0,0],[1e999,0],[9,9]]",
    "a vertex of a billion": "[[0,0],[1e9,0],[9,9]]",
    "a number of a million digits": f"[[0,0],[{'9' * 1_000_000},0],[9,9]]",
    "a vertex of text": '[[0,0],["1",0],[9,9]]',
    "a vertex of truth": "[[0,0],[true,0],[9,9]]",
    "a vertex in space": "[[0,0,0],[1,0,0],[9,9,9]]",
    "vertices in an object": '{"0": [0,0]}',
    "deep nesting": "[" * 100_000 + "]" * 100_000,
    "a huge list": f"[{'[0,0],' * 100_000}[0,0]]",
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_outlines_are_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", []))
    path.write_text(path.read_text().replace('"points": []', f'"points": {text}'))
    with pytest.raises(MaskError):
        read(path)


def test_an_outline_that_crosses_the_rows_without_end_is_refused() -> None:
    drawing = Drawing((4000, 10), "LabelMe")
    zigzag = np.array([[0, 0], [9, 4000]] * 500, np.float64)
    drawing.add_polygon(Layer.DENSE, zigzag)
    with pytest.raises(MaskError):
        drawing.add_polygon(Layer.DENSE, zigzag)


def test_an_area_filled_over_and_over_is_refused() -> None:
    drawing = Drawing(SHAPE, "LabelMe")
    for _ in range(100):
        drawing.add_polygon(Layer.DENSE, np.array(WHOLE, np.float64))
    with pytest.raises(MaskError):
        drawing.add_polygon(Layer.DENSE, np.array(WHOLE, np.float64))


@pytest.mark.parametrize(("item", "number"), [("[],", 1_000_000), ("{},", 1_000_000), ("0,", 8_000_000)])
def test_a_file_of_values_without_end_is_refused_even_if_nothing_else_is_wrong(
    tmp_path: Path, item: str, number: int
) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", WHOLE), more=[])
    path.write_text(path.read_text().replace('"more": []', f'"more": [{item * number}0]'))
    with pytest.raises(MaskError, match="malformed"):
        read(path)


def test_shapes_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError):
        read(write(tmp_path, *[shape("breast", WHOLE), shape("dense", WHOLE)] * (MAX_REGIONS // 2 + 1)))


@pytest.mark.parametrize("size", [0, -1, 10**9, 10**30, 2.5, "20", None])
def test_an_impossible_size_is_refused_before_anything_is_drawn(tmp_path: Path, size: object) -> None:
    with pytest.raises(MaskError):
        read(write(tmp_path, shape("breast", WHOLE), shape("dense", WHOLE), imageHeight=size))


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_outlines_are_read_or_refused_and_raise_nothing_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = write(tmp_path, shape("breast", WHOLE), shape("dense", box(4, 5, 8, 9)), flags={"no dense": False})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    try:
        masks = masks_in(path, None)
        labels = [mask.read(SHAPE) for mask in masks]
    except IntakeError as error:
        assert error.hint
    else:
        assert all(labels_HW.shape == SHAPE for labels_HW in labels)
