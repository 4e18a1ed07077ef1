"""Resampling: registered, free of aliasing, in range, and without loading a deep-learning framework."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from client.imaging.resample import resize_image, resize_labels


@pytest.mark.parametrize("size", [(40, 30), (77, 51), (200, 150)])
def test_an_image_is_resized_as_networks_resize_theirs(size: tuple[int, int]) -> None:
    image_HW = np.random.default_rng(0).random((120, 90), np.float32)
    expected_NCHW = functional.interpolate(
        torch.from_numpy(image_HW)[None, None], size=size, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(resize_image(image_HW, *size), expected_NCHW[0, 0].numpy(), atol=1e-5)


def test_a_box_fills_the_result() -> None:
    image_HW = np.zeros((100, 100), np.float32)
    image_HW[20:60, 50:70] = 1
    inside_HW = resize_image(image_HW, 20, 10, (21.5, 51.5, 37, 17))
    assert inside_HW.shape == (20, 10)
    assert (inside_HW > 0.99).all()
    assert not resize_image(image_HW, 20, 10, (65, 0, 30, 40)).any()


def test_turned_and_strided_views_are_read_as_they_stand() -> None:
    image_HW = np.random.default_rng(1).random((60, 40), np.float32)
    turned_HW = image_HW[::2, ::-1]
    assert (resize_image(turned_HW, 15, 20) == resize_image(turned_HW.copy(), 15, 20)).all()


def test_no_class_appears_between_two_others() -> None:
    labels_HW = np.repeat(np.array([[0, 3]], np.uint8), 50, axis=0).repeat(25, axis=1)
    assert set(np.unique(resize_labels(labels_HW, 33, 33))) == {0, 3}


def test_a_process_that_reads_and_prepares_loads_no_framework() -> None:
    script = (
        "import sys, client.intake.dicom_file, client.imaging.preparation\n"
        "print(*{'torch', 'monai', 'flwr', 'grpc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
