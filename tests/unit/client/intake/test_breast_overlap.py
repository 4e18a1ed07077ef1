"""A mask of another place, or turned, is told from one that fits; a reader's usual outline passes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from client.imaging.example import Label
from client.imaging.preparation import Geometry, PreparedImage, prepare
from client.intake.index_csv import DDSM_VALUES
from client.intake.masks import check_overlap
from client.intake.masks.label_map import LabelMap
from client.intake.masks.layers import paint
from client.intake.picture import read_picture
from shared.errors import MaskError

Labels = npt.NDArray[np.uint8]
Turn = Callable[[Labels], Labels]
DDSM = Path(__file__).resolve().parents[4] / "../shared/data/ddsm_density"
needs_ddsm = pytest.mark.skipif(not DDSM.is_dir(), reason="the real films of ddsm_density are not here")
HEIGHT, WIDTH = 120, 80
TURNS: dict[str, Turn] = {
    "mirrored": lambda labels_HW: labels_HW[:, ::-1],
    "upside down": lambda labels_HW: labels_HW[::-1],
    "both": lambda labels_HW: labels_HW[::-1, ::-1],
}


def breast() -> Labels:
    """A breast in a source whose lower half it fills, wider at its lower end, with muscle at its top."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels_HW = np.where((y > 50) & (x < (y - 50) * 0.7), Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    labels_HW[(labels_HW > 0) & (y < 80)] = Label.PECTORAL
    return labels_HW


def cropped(*, mirrored: bool = False) -> Geometry:
    """A crop to the source's lower half, shrunk to half its size."""
    return Geometry(
        source_shape=(HEIGHT, WIDTH), mirrored=mirrored, box=(50, 0, 70, 60), prepared_shape=(35, 30)
    )


def check(labels_HW: Labels, *, mirrored: bool = False) -> None:
    geometry = cropped(mirrored=mirrored)
    whole_HW = breast()[:, ::-1] if mirrored else breast()
    check_overlap(labels_HW, geometry.labels_from_source(whole_HW) > 0, geometry)


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_outline_of_the_breast_passes(mirrored: bool) -> None:
    check(breast()[:, ::-1] if mirrored else breast(), mirrored=mirrored)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_mask_is_refused(turn: str) -> None:
    with pytest.raises(MaskError):
        check(TURNS[turn](breast()))


def test_a_mask_that_overlaps_well_and_would_do_so_better_upside_down_is_refused() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    seen_HW = x < 40 + 10 * (y > 60)
    geometry = Geometry(
        source_shape=(HEIGHT, WIDTH),
        mirrored=False,
        box=(0, 0, HEIGHT, WIDTH),
        prepared_shape=(HEIGHT, WIDTH),
    )
    check_overlap(seen_HW.astype(np.uint8), seen_HW, geometry)
    with pytest.raises(MaskError, match="upside down"):
        check_overlap(seen_HW[::-1].astype(np.uint8), seen_HW, geometry)


def test_what_lies_outside_of_the_crop_counts_against_a_mask() -> None:
    labels_HW = breast()
    labels_HW[:50, :40] = Label.ADIPOSE
    with pytest.raises(MaskError, match="does not lie"):
        check(labels_HW)


def test_a_breast_outlined_without_the_muscle_passes_and_half_a_breast_does_not() -> None:
    labels_HW = breast()
    labels_HW[labels_HW == Label.PECTORAL] = Label.BACKGROUND
    check(labels_HW)
    labels_HW[90:] = Label.BACKGROUND
    with pytest.raises(MaskError, match="does not lie"):
        check(labels_HW)


@pytest.mark.parametrize("seen", [True, False])
def test_an_empty_mask_does_not_lie_on_its_breast(seen: bool) -> None:
    geometry = cropped()
    with pytest.raises(MaskError, match="does not lie"):
        check_overlap(np.zeros((HEIGHT, WIDTH), np.uint8), np.full(geometry.prepared_shape, seen), geometry)


def test_a_large_source_is_compared_on_a_part_of_its_pixels_with_the_same_outcome() -> None:
    labels_HW = np.kron(breast(), np.ones((20, 20), np.uint8))
    geometry = Geometry(
        source_shape=(20 * HEIGHT, 20 * WIDTH),
        mirrored=False,
        box=(1000, 0, 1400, 1200),
        prepared_shape=(350, 300),
    )
    seen_HW = geometry.labels_from_source(labels_HW) > 0
    check_overlap(labels_HW, seen_HW, geometry)
    with pytest.raises(MaskError):
        check_overlap(labels_HW[::-1], seen_HW, geometry)


def drawn(path: Path, shape: tuple[int, int]) -> Labels:
    return paint(LabelMap(path, DDSM_VALUES)(shape), shape)


@pytest.fixture(scope="module")
def films() -> list[tuple[PreparedImage, Labels]]:
    """Real films, prepared, with their experts' label maps."""
    with (DDSM / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    prepared = [prepare(read_picture(DDSM / row["image"])) for row in rows]
    return [
        (one, drawn(DDSM / row["label"], one.geometry.source_shape))
        for one, row in zip(prepared, rows, strict=True)
    ]


def num_passing(films: list[tuple[PreparedImage, Labels]], turn: Turn) -> int:
    passed = 0
    for prepared, labels_HW in films:
        try:
            check_overlap(turn(labels_HW), prepared.breast_HW, prepared.geometry)
            passed += 1
        except MaskError:
            pass
    return passed


@needs_ddsm
def test_on_real_films_every_experts_mask_passes_and_no_turned_one(
    films: list[tuple[PreparedImage, Labels]],
) -> None:
    assert num_passing(films, lambda labels_HW: labels_HW) == len(films)
    assert [num_passing(films, turn) for turn in TURNS.values()] == [0, 0, 0]


def dense_alone(labels_HW: Labels) -> Labels:
    return np.where(labels_HW == Label.DENSE, Label.DENSE, Label.NOT_DENSE).astype(np.uint8)


def test_dense_tissue_without_its_breast_must_lie_inside_that_breast() -> None:
    labels_HW = breast()
    labels_HW[90:110, :15] = Label.DENSE
    check(dense_alone(labels_HW))
    for turn in TURNS.values():
        with pytest.raises(MaskError):
            check(turn(dense_alone(labels_HW)))
    check(np.full((HEIGHT, WIDTH), Label.NOT_DENSE, np.uint8))  # a reader who saw none


@needs_ddsm
def test_on_real_films_dense_tissue_alone_passes_and_most_turned_ones_do_not(
    films: list[tuple[PreparedImage, Labels]],
) -> None:
    alone = [(prepared, dense_alone(labels_HW)) for prepared, labels_HW in films]
    assert num_passing(alone, lambda labels_HW: labels_HW) == len(films)
    assert max(num_passing(alone, turn) for turn in TURNS.values()) <= len(films) / 3


@needs_ddsm
def test_on_real_films_an_outline_without_the_muscle_passes(
    films: list[tuple[PreparedImage, Labels]],
) -> None:
    def without_muscle(labels_HW: Labels) -> Labels:
        return np.where(labels_HW == Label.PECTORAL, Label.BACKGROUND, labels_HW).astype(np.uint8)

    assert num_passing(films, without_muscle) == len(films)
