"""Masks in the form of COCO: polygons and run lengths, one file for many pictures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.imaging.example import Label
from client.intake.masks import open_masks
from client.intake.masks.run_length import decode_runs, unpack_counts
from shared.errors import IntakeError, MaskError

HEIGHT, WIDTH = 3, 11
SHAPE = (HEIGHT, WIDTH)
WHOLE = [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]
COUNTS = [20, 5, 6, 2]
# 20 = 10100 in five bits needs a second group, or its highest bit were a sign: (20 + 32), 0 -> "d", "0".
# 5 -> "5", 6 -> "6". The fourth is 2 - 5 = -3 = 11101 in five bits = 29 -> "M".
PACKED = "d056M"
CATEGORIES = [{"id": 1, "name": "Breast"}, {"id": 2, "name": "fibroglandular"}, {"id": 3, "name": "No dense"}]


def pack(counts: list[int]) -> str:
    """The compressed form, written from its definition."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + (32 if more else 0))
    return text


def annotation(category: int, segmentation: Any, image: int = 7) -> dict[str, Any]:
    return {
        "id": 1,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "area": 5.0,
        "bbox": [0, 0, 1, 1],
        "iscrowd": 0,
    }


def write(folder: Path, *annotations: dict[str, Any], **changes: Any) -> Path:
    images = [
        {"id": 7, "file_name": "pictures/1.2.3.png", "height": HEIGHT, "width": WIDTH},
        {"id": 8, "file_name": "1.2.4.dcm", "height": HEIGHT, "width": WIDTH},
    ]
    document = {"info": {}, "images": images, "categories": CATEGORIES, "annotations": annotations, **changes}
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def dense(segmentation: Any, folder: Path) -> np.ndarray:
    write(folder, annotation(1, WHOLE), annotation(2, segmentation))
    return open_masks(folder)["1.2.3"].read(SHAPE) == 2


def test_run_lengths_go_down_the_columns_beginning_with_background() -> None:
    # Pixels 20 to 24 and 31 to 32, counted down the columns of three: 20 is the last of the seventh column.
    expected = np.zeros(SHAPE, np.bool_)
    expected[2, 6] = expected[:, 7] = expected[0, 8] = True
    expected[1:, 10] = True
    assert decode_runs(COUNTS, SHAPE).tolist() == expected.tolist()


def test_packed_run_lengths_are_those_worked_out_by_hand() -> None:
    assert unpack_counts(PACKED) == COUNTS
    assert pack(COUNTS) == PACKED
    assert unpack_counts("") == []


@given(st.lists(st.integers(0, 40_000_000), max_size=30))
def test_packed_run_lengths_come_back(counts: list[int]) -> None:
    assert unpack_counts(pack(counts)) == counts


def test_polygons_and_both_kinds_of_run_lengths_draw_the_same(tmp_path: Path) -> None:
    plain = dense({"size": [HEIGHT, WIDTH], "counts": COUNTS}, tmp_path)
    packed = dense({"size": [HEIGHT, WIDTH], "counts": PACKED}, tmp_path)
    polygons = [
        [6, 2, 7, 2, 7, 0, 8, 0, 8, 1, 9, 1, 8, 1, 8, 3, 6, 3],
        [8, 0, 9, 0, 9, 1, 8, 1],
        [10, 1, 11, 1, 11, 3, 10, 3],
    ]
    assert np.count_nonzero(plain) == 5 + 2
    assert packed.tolist() == plain.tolist() == dense(polygons, tmp_path).tolist()


def test_each_picture_has_the_mask_of_its_own_annotations(tmp_path: Path) -> None:
    write(
        tmp_path,
        annotation(1, WHOLE),
        annotation(3, []),
        annotation(1, WHOLE, 8),
        annotation(2, WHOLE, 8),
    )
    masks = open_masks(tmp_path)
    assert list(masks) == ["1.2.3", "1.2.4"]
    assert {mask.kind for mask in masks.values()} == {"coco"}
    assert (masks["1.2.3"].read(SHAPE) == Label.ADIPOSE_OR_PECTORAL).all()
    assert (masks["1.2.4"].read(SHAPE) == 2).all()
    assert (pickle.loads(pickle.dumps(masks["1.2.4"])).read(SHAPE) == 2).all()


def test_a_picture_without_an_annotation_has_no_mask(tmp_path: Path) -> None:
    write(tmp_path, annotation(1, WHOLE), annotation(2, WHOLE))
    assert list(open_masks(tmp_path)) == ["1.2.3"]


def test_a_picture_that_is_listed_twice_has_two_masks_and_is_refused(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": "1.2.3.png", "height": HEIGHT, "width": WIDTH} for number in (7, 8)]
    write(tmp_path, annotation(1, WHOLE), annotation(1, WHOLE, 8), images=images)
    with pytest.raises(MaskError, match="more than one mask"):
        open_masks(tmp_path)["1.2.3"].read(SHAPE)


def refused(folder: Path, *annotations: dict[str, Any], **changes: Any) -> str:
    write(folder, *annotations, **changes)
    with pytest.raises(MaskError) as caught:
        open_masks(folder)["1.2.3"].read(SHAPE)
    return caught.value.message


def test_an_unknown_class_is_refused_and_not_quoted(tmp_path: Path) -> None:
    for categories in ([{"id": 1, "name": "Jane Doe"}], []):
        message = refused(tmp_path, annotation(1, WHOLE), categories=categories)
        assert "unknown" in message
        assert "Doe" not in message


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "1.2.3.png", "height": WIDTH, "width": HEIGHT}]
    assert "sizes" in refused(tmp_path, annotation(1, WHOLE), annotation(2, WHOLE), images=images)
    turned = {"size": [WIDTH, HEIGHT], "counts": COUNTS}
    assert "sizes" in refused(tmp_path, annotation(1, WHOLE), annotation(2, turned))


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        3,
        "x",
        [[0, 0, 1]],
        [[0, 0, 1, 1]],
        [[0, 0, "1", 1, 2, 2]],
        [[[0, 0], [1, 1], [2, 2]]],
        {"counts": COUNTS},
        {"size": [HEIGHT], "counts": COUNTS},
        {"size": [HEIGHT, WIDTH], "counts": [20, 5, 6, 3]},
        {"size": [HEIGHT, WIDTH], "counts": [20, 5, 6]},
        {"size": [HEIGHT, WIDTH], "counts": [20, -5, 16, 2]},
        {"size": [HEIGHT, WIDTH], "counts": [10**9] * 4},
        {"size": [HEIGHT, WIDTH], "counts": [0.5] * 66},
        {"size": [HEIGHT, WIDTH], "counts": "d056"},
        {"size": [HEIGHT, WIDTH], "counts": "d056o"},
        {"size": [HEIGHT, WIDTH], "counts": "o" * 1_000_000},
        {"size": [HEIGHT, WIDTH], "counts": "0" * 1_000_001},
        {"size": [HEIGHT, WIDTH], "counts": "\u20ac"},
    ],
)
def test_a_malformed_region_is_refused(tmp_path: Path, segmentation: Any) -> None:
    assert "COCO" in refused(tmp_path, annotation(1, WHOLE), annotation(2, segmentation))


def test_regions_without_end_are_refused(tmp_path: Path) -> None:
    assert "COCO" in refused(tmp_path, annotation(1, WHOLE * 2_001), annotation(2, WHOLE))


@pytest.mark.parametrize(
    "changes", [{"images": 3}, {"categories": None}, {"annotations": [{"image_id": 7}]}, {"annotations": 0}]
)
def test_a_file_of_many_masks_that_is_malformed_is_refused_as_a_whole_and_by_itself(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    write(tmp_path, **changes)
    (mask,) = open_masks(tmp_path).values()
    with pytest.raises(MaskError, match="COCO"):
        mask.read(SHAPE)


@given(st.binary(max_size=3), st.integers(0, 2000), st.integers(0, 3))
def test_damaged_files_are_read_or_refused_and_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, bytes_put: bytes, place: int, num_lost: int
) -> None:
    folder = tmp_path_factory.mktemp("coco")
    path = write(folder, annotation(1, WHOLE), annotation(2, {"size": [HEIGHT, WIDTH], "counts": PACKED}))
    content = bytearray(path.read_bytes())
    at = place % len(content)
    content[at : at + num_lost] = bytes_put
    path.write_bytes(content)
    try:
        for mask in open_masks(folder).values():
            assert mask.read(SHAPE).shape == SHAPE
    except IntakeError as error:
        assert error.hint
