"""A network that slides over a canvas larger than its input."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from client.inference.prediction import predict, predict_flipped_too
from shared.plan import ModelPlan

PLAN = ModelPlan(input_height_px=64, input_width_px=64)


class PixelByPixel(nn.Module):
    """Says of each pixel what follows from it alone; notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Size] = []

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        self.shown.append(image_NCHW.shape)
        return {"breast": image_NCHW.repeat(1, 3, 1, 1) * 2, "dense": image_NCHW - 0.5}


def test_a_canvas_of_the_inputs_size_is_seen_at_once() -> None:
    network = PixelByPixel()
    image_NCHW = torch.rand(2, 1, 64, 64)
    logits = predict(network, image_NCHW, PLAN)
    assert network.shown == [image_NCHW.shape]
    assert torch.equal(logits["dense"], image_NCHW - 0.5)


def test_a_larger_canvas_is_seen_through_windows_and_every_pixel_is_where_it_was() -> None:
    network = PixelByPixel()
    image_NCHW = torch.rand(1, 1, 150, 97)
    logits = predict(network, image_NCHW, PLAN)
    assert {tuple(shape[2:]) for shape in network.shown} == {(64, 64)}
    assert logits["breast"].shape == (1, 3, 150, 97)
    torch.testing.assert_close(logits["dense"], image_NCHW - 0.5)
    torch.testing.assert_close(logits["breast"][:, 2:], image_NCHW * 2)


def test_features_are_the_mean_over_the_windows_of_each_image() -> None:
    class WithFeatures(PixelByPixel):
        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            return {**super().forward(image_NCHW), "features": image_NCHW.mean(dim=(2, 3), keepdim=True)}

    image_NCHW = torch.cat([torch.full((1, 1, 64, 100), 0.25), torch.ones(1, 1, 64, 100)])
    image_NCHW[0, :, :, 64:] = 0.75
    logits = predict(WithFeatures(), image_NCHW, PLAN)
    windows = [image_NCHW[0, 0, :, start : start + 64].mean().item() for start in (0, 36)]
    assert logits["features"].flatten().tolist() == pytest.approx([sum(windows) / 2, 1.0])
    assert logits["dense"].shape == (2, 1, 64, 100)


def test_windows_are_averaged_with_weights_that_favour_their_middles() -> None:
    class DarkAtItsEdges(PixelByPixel):
        """Is wrong at the edge of each window, as a network that lacks what lies beyond it."""

        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            logits = super().forward(image_NCHW)
            wrong = torch.ones_like(image_NCHW)
            wrong[:, :, 4:-4, 4:-4] = 0
            return {**logits, "dense": logits["dense"] - 10 * wrong}

    image_NCHW = torch.ones(1, 1, 64, 112)
    middle_W = predict(DarkAtItsEdges(), image_NCHW, PLAN)["dense"][0, 0, 32]
    # Columns 48 to 63 are seen by both windows; an edge counts far less there than the other's inside.
    assert float(middle_W[48:64].min()) > 0.5 - 10 / 10


def test_flips_average_what_is_seen_upright_and_upside_down_in_its_place() -> None:
    class SeesRows(nn.Module):
        """Calls dense what lies in the upper half of what it is shown."""

        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            upper_NCHW = torch.zeros_like(image_NCHW)
            upper_NCHW[:, :, :32] = 4.0
            return {"breast": image_NCHW.repeat(1, 3, 1, 1), "dense": upper_NCHW}

    image_NCHW = torch.rand(1, 1, 64, 64)
    logits = predict_flipped_too(SeesRows(), image_NCHW, PLAN)
    # Each half is called dense by one of the two looks.
    torch.testing.assert_close(logits["dense"], torch.full_like(image_NCHW, 2.0))
    torch.testing.assert_close(logits["breast"], image_NCHW.repeat(1, 3, 1, 1))


def test_the_default_network_is_built_and_used_without_monai_which_is_slow_to_import() -> None:
    program = (
        "import sys, torch, client.using\n"
        "from client.inference.prediction import predict\n"
        "from shared.model import build_model\n"
        "from shared.plan import ModelPlan\n"
        "plan = ModelPlan(size='tiny', input_height_px=64, input_width_px=64)\n"
        "predict(build_model(plan).eval(), torch.zeros(1, 1, 64, 64), plan)\n"
        "print(*{'monai', 'matplotlib', 'scipy.stats', 'flwr'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
