"""From logits to segments and percent density."""

import torch

from shared.model.segmentation import BreastClass, Segments, segments_of


def _mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[[cell == "#" for cell in row] for row in rows]])


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


def test_dense_tissue_outside_the_breast_does_not_count():
    breast_logits_NCHW = torch.full((1, 3, 1, 3), -5.0)
    for column, breast_class in enumerate(BreastClass):
        breast_logits_NCHW[0, breast_class, 0, column] = 5.0

    segments = segments_of({"breast": breast_logits_NCHW, "dense": torch.full((1, 1, 1, 3), 5.0)})

    assert segments.breast_NHW.tolist() == [[[False, True, False]]]
    assert segments.pectoral_NHW.tolist() == [[[False, False, True]]]
    assert segments.dense_NHW.tolist() == [[[False, True, False]]]


def test_the_segments_of_one_image_end_where_it_ends():
    first_NHW, second_NHW = _mask("##..", "...."), _mask(".###", "####")
    both_NHW = torch.cat([first_NHW, second_NHW])

    segments = Segments(breast_NHW=both_NHW, pectoral_NHW=~both_NHW, dense_NHW=both_NHW).of_image(1, 1, 3)

    assert segments.breast_NHW.tolist() == [[[False, True, True]]]
    assert segments.pectoral_NHW.tolist() == [[[True, False, False]]]
