"""Examples at a network's scale: whole for evaluation, windows for training."""

from __future__ import annotations

import numpy as np
import torch

from client.imaging.example import Example
from client.imaging.mammogram import Spacing
from client.training.dataset import FittedDataset
from shared.plan import ModelPlan

AT_1_MM = ModelPlan(input_height_px=64, input_width_px=64, pixel_mm=1.0)


def _ramp(rows: int, columns: int) -> Example:
    """A picture of 1 mm pixels that names its own rows by grey value and its columns by label."""
    image_HW = np.repeat(np.arange(1, rows + 1, dtype=np.uint16)[:, None] * 500, columns, axis=1)
    labels_HW = np.repeat((np.arange(columns, dtype=np.uint8) % 4)[None], rows, axis=0)
    return Example(
        example_id="ramp", image_HW=image_HW, labels_HW=labels_HW, spacing=Spacing(row_mm=1.0, column_mm=1.0)
    )


def test_a_batch_holds_every_example_whole_with_zeros_up_to_the_largest() -> None:
    batch = FittedDataset([_ramp(50, 40), _ramp(100, 70)], AT_1_MM).batch([0, 1])

    assert batch.image_NCHW.shape == (2, 1, 100, 70)
    assert batch.image_NCHW[0, 0, 49, 39] > 0
    assert not batch.image_NCHW[0, 0, 50:].any()
    assert not batch.labels_NHW[0, :, 40:].any()
    assert batch.image_NCHW[1, 0, 99, 69] > 0


def test_windows_are_of_the_inputs_size_and_reach_every_place_of_a_larger_example() -> None:
    dataset, generator = FittedDataset([_ramp(100, 70)], AT_1_MM), torch.Generator().manual_seed(0)

    seen = [dataset.windows([0], generator) for _ in range(400)]

    assert {tuple(batch.image_NCHW.shape) for batch in seen} == {(1, 1, 64, 64)}
    tops = {round(float(batch.image_NCHW[0, 0, 0, 0]) * 65535 / 500) - 1 for batch in seen}
    assert tops == set(range(37))  # 100 - 64 rows to move by
    lefts = {int(batch.labels_NHW[0, 0, 0]) for batch in seen}
    assert lefts == {0, 1, 2, 3}


def test_labels_move_with_their_window() -> None:
    dataset = FittedDataset([_ramp(64, 100)], AT_1_MM)
    generator = torch.Generator().manual_seed(1)

    for _ in range(20):
        labels_HW = dataset.windows([0], generator).labels_NHW[0]
        assert torch.equal(labels_HW[0], (torch.arange(64, dtype=torch.uint8) + labels_HW[0, 0]) % 4)


def test_an_example_that_fits_in_costs_no_random_number() -> None:
    generator = torch.Generator().manual_seed(2)
    before = generator.get_state()

    windows = FittedDataset([_ramp(60, 60)], AT_1_MM).windows([0], generator)

    assert torch.equal(generator.get_state(), before)
    assert torch.equal(windows.image_NCHW, FittedDataset([_ramp(60, 60)], AT_1_MM).batch([0]).image_NCHW)
