"""What labels tell of an image."""

from __future__ import annotations

import torch

from shared.model.segmentation import BreastClass
from shared.model.targets import Targets


def complete() -> Targets:
    """Two images of 2 x 3 pixels: background, breast, pectoral."""
    breast_NHW = torch.tensor([[[0, 1, 2], [0, 1, 2]], [[0, 0, 1], [1, 1, 1]]])
    return Targets.complete(breast_NHW=breast_NHW, dense_NHW=breast_NHW == 1)


def test_of_a_whole_label_map_every_segment_is_drawn() -> None:
    assert complete().drawn() == {"dense", "breast", "pectoral"}


def test_where_breast_and_pectoral_were_not_told_apart_neither_is_drawn() -> None:
    targets = complete()
    targets.possible_NCHW[0, BreastClass.PECTORAL, 0, 1] = True

    assert targets.drawn() == {"dense"}
    assert targets.of_image(1, 2, 3).drawn() == {"dense", "breast", "pectoral"}


def test_where_background_may_be_pectoral_the_breast_is_drawn_all_the_same() -> None:
    targets = complete()
    targets.possible_NCHW[0, BreastClass.PECTORAL, 0, 0] = True

    assert targets.drawn() == {"dense", "breast"}


def test_dense_tissue_is_drawn_if_all_of_it_is_known() -> None:
    targets = complete()
    targets.dense_known_NHW[0, 1, 2] = False

    assert targets.drawn() == {"breast", "pectoral"}
    assert targets.of_image(0, 2, 2).drawn() == {"dense", "breast", "pectoral"}


def test_the_targets_of_one_image_end_where_it_ends() -> None:
    (segments,) = [complete().of_image(1, 1, 3).segments()]

    assert segments.breast_NHW.tolist() == [[[False, False, True]]]
