"""The breast is found, and nothing else, in drawn films whose breast is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy import ndimage

from client.imaging.breast_mask import WORKING_LONG_SIDE_PX, find_breast, largest_component, opened
from client.imaging.resample import resize_labels
from shared.errors import NotMammogramError

DDSM = Path(__file__).resolve().parents[4] / "../shared/data/ddsm_density"
HEIGHT, WIDTH = 600, 400


def draw_film() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """A half-ellipse of tissue at the left edge of a noisy grey film."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    breast_HW = ((y - 300) / 220) ** 2 + (x / 250) ** 2 < 1
    noise_HW = np.random.default_rng(0).normal(20, 2, (HEIGHT, WIDTH))
    film_HW = np.where(breast_HW, 120 + 60 * (x > 80), 0) + noise_HW
    return film_HW.astype(np.float32), breast_HW


def breast_on(film_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """The breast found, on the film's own pixels."""
    return resize_labels(find_breast(film_HW), *film_HW.shape)


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return 2 * int((a & b).sum()) / int(a.sum() + b.sum())


def test_the_breast_is_found_on_a_plain_film() -> None:
    film_HW, breast_HW = draw_film()
    assert dice(breast_on(film_HW), breast_HW) > 0.98


def test_a_bright_marker_beside_the_breast_is_dropped() -> None:
    film_HW, breast_HW = draw_film()
    film_HW[30:80, 300:380] = 255
    found_HW = breast_on(film_HW)
    assert not found_HW[20:90, 290:390].any()
    assert dice(found_HW, breast_HW) > 0.98


def test_a_marker_at_the_far_edge_does_not_win_over_the_breast() -> None:
    film_HW, breast_HW = draw_film()
    film_HW[20:60, 340:] = 255
    assert dice(breast_on(film_HW), breast_HW) > 0.98


def test_a_bright_frame_around_the_film_is_dropped() -> None:
    film_HW, breast_HW = draw_film()
    film_HW[:8] = film_HW[-8:] = 250
    film_HW[:, -8:] = 250
    found_HW = breast_on(film_HW)
    assert not found_HW[:8].any()
    assert not found_HW[-8:].any()
    assert dice(found_HW, breast_HW) > 0.97


def test_the_glow_along_the_chest_edge_above_and_below_the_breast_is_trimmed() -> None:
    film_HW, breast_HW = draw_film()
    film_HW[:, :25] += 70
    found_HW = breast_on(film_HW)
    assert not found_HW[:60].any()
    assert not found_HW[-60:].any()
    assert dice(found_HW, breast_HW) > 0.97


def test_a_dark_hole_inside_the_breast_belongs_to_it() -> None:
    film_HW, _ = draw_film()
    film_HW[280:320, 100:140] = 0
    assert breast_on(film_HW)[280:320, 100:140].all()


@pytest.mark.parametrize("value", [0.0, 4095.0])
def test_a_picture_of_one_value_shows_no_breast(value: float) -> None:
    with pytest.raises(NotMammogramError, match="no breast"):
        find_breast(np.full((300, 200), value, np.float32))


def test_a_bright_region_in_the_middle_touching_no_side_is_no_breast() -> None:
    film_HW = np.zeros((HEIGHT, WIDTH), np.float32)
    film_HW[200:400, 150:250] = 200
    with pytest.raises(NotMammogramError):
        find_breast(film_HW)


def test_the_breast_of_a_large_picture_is_found_on_a_small_copy() -> None:
    film_HW, breast_HW = draw_film()
    large_HW = np.kron(film_HW, np.ones((5, 5), np.float32))
    found_HW = find_breast(large_HW)
    assert max(found_HW.shape) == WORKING_LONG_SIDE_PX
    assert dice(resize_labels(found_HW, HEIGHT, WIDTH), breast_HW) > 0.98


def test_opening_is_that_of_a_disc() -> None:
    y, x = np.ogrid[-5:6, -5:6]
    disc_HW = x * x + y * y <= 25
    noise_HW = np.random.default_rng(4).random((120, 90))
    for level in (0.48, 0.5, 0.52):
        mask_HW = ndimage.gaussian_filter(noise_HW, 3) > level
        expected_HW = ndimage.binary_opening(mask_HW, disc_HW)
        assert (opened(mask_HW, 5) == expected_HW).all()
        assert expected_HW.any() or level > 0.5


def test_the_largest_component_of_an_empty_mask_is_empty() -> None:
    assert not largest_component(np.zeros((4, 4), np.bool_)).any()


def test_only_the_largest_component_is_kept() -> None:
    mask_HW = np.zeros((6, 6), np.bool_)
    mask_HW[0, 0] = True
    mask_HW[3:5, 3:5] = True
    kept_HW = largest_component(mask_HW)
    assert kept_HW.sum() == 4
    assert kept_HW[3:5, 3:5].all()


@pytest.mark.skipif(not DDSM.is_dir(), reason="the real films of ddsm_density are not here")
def test_the_masks_of_real_films_agree_with_the_experts_outlines() -> None:
    names = sorted(path.name for path in (DDSM / "images").glob("*.png"))[::4]
    dices, kept = [], []
    for name in names:
        film_HW = np.asarray(Image.open(DDSM / "images" / name)).astype(np.float32)
        labels_HW = np.asarray(Image.open(DDSM / "labels" / name.replace(".png", "_LI.png")))
        found_HW, expert_HW = breast_on(film_HW), labels_HW > 64
        dices.append(dice(found_HW, expert_HW))
        kept.append((found_HW & expert_HW).sum() / expert_HW.sum())
    assert len(names) >= 12
    assert np.mean(dices) > 0.95
    assert min(dices) > 0.88
    assert np.mean(kept) > 0.97
