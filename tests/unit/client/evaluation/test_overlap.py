"""Overlap of segments."""

import torch

from client.evaluation.overlap import dice


def _mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[[cell == "#" for cell in row] for row in rows]])


def test_dice_is_twice_the_overlap_over_both_sizes():
    measured_NHW = _mask("##..", "##..")
    expert_NHW = _mask(".##.", ".##.")

    # two common pixels; four in each
    assert dice(measured_NHW, expert_NHW).tolist() == [0.5]


def test_dice_is_taken_image_by_image():
    full_NHW, empty_NHW = _mask("##"), _mask("..")

    result_N = dice(torch.cat([full_NHW, full_NHW, empty_NHW]), torch.cat([full_NHW, empty_NHW, empty_NHW]))

    assert result_N.tolist() == [1.0, 0.0, 1.0]
