"""What a network says of a whole canvas, whatever its size: for evaluation and use alike.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from shared.model import Logits, Network
from shared.model.density_band import DensityBand, bands_of
from shared.plan import ModelPlan

OVERLAP = 0.25
"""Of neighbouring windows, as a share of their side."""


def predict_flipped_too(model: nn.Module, image_NCHW: Tensor, plan: ModelPlan) -> Logits:
    """As `predict`, averaged with what is seen upside down: for a model that was trained to see both."""
    upright, flipped = predict(model, image_NCHW, plan), predict(model, image_NCHW.flip(2), plan)
    both: Logits = {
        "breast": (upright["breast"] + flipped["breast"].flip(2)) / 2,
        "dense": (upright["dense"] + flipped["dense"].flip(2)) / 2,
    }
    if "features" in upright:
        both["features"] = (upright["features"] + flipped["features"]) / 2
    return both


def predict(model: nn.Module, image_NCHW: Tensor, plan: ModelPlan) -> Logits:
    """Logits of a canvas that is at least as large as the network's input.

    A larger one is seen through windows of the input's size, whose logits are averaged with Gaussian weights
    that favour their middles (as nnU-Net does: Isensee et al., Nature Methods 18, 2021). Features are the
    mean of those of the windows.
    """
    size = (plan.input_height_px, plan.input_width_px)
    if tuple(image_NCHW.shape[2:]) == size:
        logits: Logits = model(image_NCHW)
        return logits
    # Where one window is enough, MONAI is not needed: it takes longer to import than torch.
    from monai.inferers.utils import sliding_window_inference

    features_1C11: list[Tensor] = []

    def look(window_1CHW: Tensor) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = model(window_1CHW)
        if "features" in seen:
            features_1C11.append(seen.pop("features"))
        return seen

    slid = cast(
        "Logits",
        sliding_window_inference(
            image_NCHW, roi_size=size, sw_batch_size=1, predictor=look, overlap=OVERLAP, mode="gaussian"
        ),
    )
    if features_1C11:  # all windows of one image, then all of the next
        _, channels, *_ = features_1C11[0].shape
        per_image = torch.cat(features_1C11).view(image_NCHW.shape[0], -1, channels, 1, 1)
        slid["features"] = per_image.mean(dim=1)
    return slid


@torch.inference_mode()
def likely_bands(
    model: nn.Module, percent_density_N: Tensor, logits: Logits
) -> list[DensityBand] | list[None]:
    """What the model's head for density bands says of each image; None of a model without one.

    Parameters
    ----------
    percent_density_N
        As it was measured by these logits, in %; on any device.
    """
    if not isinstance(model, Network) or model.band_head is None:
        return [None] * len(percent_density_N)
    features_NC11 = logits["features"]
    return bands_of(model.band_head(percent_density_N.to(features_NC11.device), features_NC11))
