import torch

from shared.model.metrics import dice, percent_density_error
from shared.model.segmentation import BreastClass, Segments, segments_of


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


def test_percent_density_leaves_the_pectoral_muscle_out():
    segments = Segments(
        breast_NHW=_mask("..####", "..####"),
        pectoral_NHW=_mask("##....", "##...."),
        dense_NHW=_mask("...#..", "...#.."),
    )

    assert segments.percent_density().tolist() == [25.0]


def test_percent_density_of_no_breast_is_zero_and_not_a_division_error():
    nothing_NHW = _mask("..")

    segments = Segments(breast_NHW=nothing_NHW, pectoral_NHW=nothing_NHW, dense_NHW=nothing_NHW)

    assert segments.percent_density().tolist() == [0.0]


def test_percent_density_error_is_in_points_and_without_sign():
    quarter = Segments(breast_NHW=_mask("####"), pectoral_NHW=_mask("...."), dense_NHW=_mask("#..."))
    half = Segments(breast_NHW=_mask("####"), pectoral_NHW=_mask("...."), dense_NHW=_mask("##.."))

    assert percent_density_error(quarter, half).tolist() == [25.0]
    assert percent_density_error(half, quarter).tolist() == [25.0]


def test_dense_tissue_outside_the_breast_does_not_count():
    breast_logits_NCHW = torch.full((1, 3, 1, 3), -5.0)
    for column, breast_class in enumerate(BreastClass):
        breast_logits_NCHW[0, breast_class, 0, column] = 5.0

    segments = segments_of({"breast": breast_logits_NCHW, "dense": torch.full((1, 1, 1, 3), 5.0)})

    assert segments.breast_NHW.tolist() == [[[False, True, False]]]
    assert segments.pectoral_NHW.tolist() == [[[False, False, True]]]
    assert segments.dense_NHW.tolist() == [[[False, True, False]]]
