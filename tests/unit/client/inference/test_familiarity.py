"""Images unlike those that a model was trained on get a reason and no number."""

from __future__ import annotations

import numpy as np
import pytest

from bench.familiarity import phantoms
from bench.outliers import CHANGES, drawn, upside_down
from client.imaging.appearance import appearance_of
from client.imaging.mammogram import Mammogram
from client.imaging.preparation import PreparedImage, prepare
from client.inference.familiarity import distance, insist_on_familiar, what_stands_out
from shared.appearance import LEAST_IN_ALL, QUANTITIES, Appearance, describe
from shared.errors import NotMammogramError, UnfamiliarError

PER_VENDOR = 45
SPACING_MM = 1.0


def prepared(image_HW: np.ndarray) -> PreparedImage:
    return prepare(Mammogram(pixels_HW=np.ascontiguousarray(image_HW, np.float32)))


@pytest.fixture(scope="module")
def mammograms() -> list[np.ndarray]:
    return [image_HW for _, image_HW in phantoms(PER_VENDOR, SPACING_MM)]


@pytest.fixture(scope="module")
def known(mammograms: list[np.ndarray]) -> np.ndarray:
    return np.array([appearance_of(prepared(image_HW).image_HW) for image_HW in mammograms])


@pytest.fixture(scope="module")
def reference(known: np.ndarray) -> Appearance:
    """Of all but every fifth."""
    kept = known[np.arange(len(known)) % 5 > 0]
    assert len(kept) >= LEAST_IN_ALL
    return describe(kept, told=len(kept))


def test_nearly_every_mammogram_that_was_held_out_is_familiar(
    known: np.ndarray, reference: Appearance
) -> None:
    far = [distance(values_Q, reference) > 1 for values_Q in known[::5]]

    assert np.mean(far) <= 0.06


@pytest.mark.parametrize(
    "kind",
    ["photograph", "noise", "noise in a breast's outline", "hand", "chest", "CT slice", "quality phantom"],
)
def test_what_is_drawn_is_refused_with_one_line_of_reason(kind: str, reference: Appearance) -> None:
    for image_HW in drawn(kind, 2):
        try:
            image = prepared(image_HW)
        except NotMammogramError:
            continue
        with pytest.raises(UnfamiliarError) as caught:
            insist_on_familiar(image, reference)
        assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("change", ["implant", "spot view", "quarter turn", "negative"])
def test_mammograms_with_an_implant_and_parts_of_them_are_refused(
    change: str, mammograms: list[np.ndarray], reference: Appearance
) -> None:
    random, refused, asked = np.random.default_rng(1), 0, mammograms[::12]
    for image_HW in asked:
        try:
            insist_on_familiar(prepared(CHANGES[change](image_HW, random)), reference)
        except (UnfamiliarError, NotMammogramError):
            refused += 1

    assert refused >= 0.8 * len(asked)


def test_a_mammogram_upside_down_is_as_familiar_as_before(
    mammograms: list[np.ndarray], reference: Appearance
) -> None:
    for image_HW in mammograms[1::20]:
        insist_on_familiar(prepared(upside_down(image_HW)), reference)


def test_without_a_reference_the_outline_alone_decides(mammograms: list[np.ndarray]) -> None:
    insist_on_familiar(prepared(CHANGES["implant"](mammograms[0], np.random.default_rng(2))), None)
    with pytest.raises(UnfamiliarError, match="in the image"):
        insist_on_familiar(prepared(CHANGES["quarter turn"](mammograms[4], np.random.default_rng(2))), None)


def test_the_distance_is_hotellings_for_one_new_observation() -> None:
    random = np.random.default_rng(3)
    values = random.standard_normal((400, len(QUANTITIES)))
    reference = describe(values, told=400)
    new = random.standard_normal((3000, len(QUANTITIES)))

    told = np.array([distance(values_Q, reference) for values_Q in new])

    # Where the quantities are normal, T2 n (n - p) / (p (n n - 1)) follows F(p, n - p), p = 21, n = 400: its
    # mean is 379 / 377, and one in a thousand lies beyond 2.311.
    assert told.mean() == pytest.approx(379 / 377 / 2.311, rel=0.03)
    assert np.mean(told > 1) < 0.004


def test_what_stands_out_most_is_named_in_words() -> None:
    values = np.random.default_rng(4).standard_normal((400, len(QUANTITIES)))
    reference = describe(values, told=400)
    far_Q = np.zeros(len(QUANTITIES))
    far_Q[QUANTITIES.index("texture_4")] = 9

    assert what_stands_out(far_Q, reference) == "its texture"


def test_a_quantity_that_does_not_vary_breaks_nothing() -> None:
    values = np.random.default_rng(5).standard_normal((400, len(QUANTITIES)))
    values[:, 3] = 0.5
    reference = describe(values, told=400)

    assert np.isfinite(distance(values[0], reference))
    moved_Q = values[0].copy()
    moved_Q[3] = 0.7
    assert distance(moved_Q, reference) > 1
