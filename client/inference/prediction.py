"""What a network says of a whole canvas, whatever its size: for evaluation and use alike.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import cast

from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from shared.model import Logits
from shared.plan import ModelPlan

OVERLAP = 0.25
"""Of neighbouring windows, as a share of their side."""


def predict_flipped_too(model: nn.Module, image_NCHW: Tensor, plan: ModelPlan) -> Logits:
    """As `predict`, averaged with what is seen upside down: for a model that was trained to see both."""
    upright, flipped = predict(model, image_NCHW, plan), predict(model, image_NCHW.flip(2), plan)
    return {
        "breast": (upright["breast"] + flipped["breast"].flip(2)) / 2,
        "dense": (upright["dense"] + flipped["dense"].flip(2)) / 2,
    }


def predict(model: nn.Module, image_NCHW: Tensor, plan: ModelPlan) -> Logits:
    """Logits of a canvas that is at least as large as the network's input.

    A larger one is seen through windows of the input's size, whose logits are averaged with Gaussian weights
    that favour their middles (as nnU-Net does: Isensee et al., Nature Methods 18, 2021).
    """
    size = (plan.input_height_px, plan.input_width_px)
    if tuple(image_NCHW.shape[2:]) == size:
        logits: Logits = model(image_NCHW)
        return logits
    slid = sliding_window_inference(
        image_NCHW, roi_size=size, sw_batch_size=1, predictor=model, overlap=OVERLAP, mode="gaussian"
    )
    return cast("Logits", slid)
