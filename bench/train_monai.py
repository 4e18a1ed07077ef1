"""A plain MONAI loop on a task: `python -m bench.train_monai TASK WORKERS PRECISION`.

CacheDataset, dictionary transforms with the same kinds and strengths of changes as ours, DataLoader, and the
loop of MONAI's tutorials. With the precision `bfloat16`, the loop under autocast in channels-last.
"""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.losses.dice import DiceCELoss
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import RandAdjustContrastd, RandGaussianNoised, RandHistogramShiftd
from monai.transforms.spatial.dictionary import RandAffined
from monai.transforms.utility.dictionary import EnsureTyped
from monai.utils.misc import set_determinism
from torch import nn

from bench.training_task import NUM_WARM_UP, Task, Watch
from client.training import augmentation
from shared.model import build_model
from shared.plan import ModelPlan

BREAST_OF_LABEL = torch.tensor([0, 1, 1, 2])
DENSE = 2


def main() -> None:
    """Train; waiting is the time until the loader has given a batch."""
    task = Task.from_json(sys.argv[1])
    num_workers, dtype = int(sys.argv[2]), getattr(torch, sys.argv[3])
    set_determinism(0)
    device = torch.device(task.device)
    dataset = CacheDataset(
        [{"image": image_HW[None], "label": labels_HW[None]} for image_HW, labels_HW in task.pictures()],
        _transforms(task),
        progress=False,
    )
    loader = DataLoader(
        dataset,
        batch_size=task.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    model = _network(task).to(device)
    if dtype != torch.float32:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    breast_loss = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    dense_loss = DiceCELoss(sigmoid=True, batch=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    model.train()
    watch, batches = Watch(), iter(loader)
    for _ in range(task.num_steps + NUM_WARM_UP):
        with watch.waiting():
            batch = next(batches, None)
            if batch is None:
                batches = iter(loader)
                batch = next(batches)
            image, label = batch["image"].as_tensor().to(device), batch["label"].as_tensor().to(device).long()
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(image)
        loss = breast_loss(logits["breast"].float(), BREAST_OF_LABEL.to(device)[label])
        loss = loss + dense_loss(logits["dense"].float(), (label == DENSE).float())
        loss.backward()
        optimizer.step()
        loss.item()
        watch.step_ends()
    watch.print_json()


def _network(task: Task) -> nn.Module:
    """Our network with torch's own instance norms."""
    plan = {
        "network": task.network,
        "size": task.size,
        "task_weighting": "equal",
        "input_height_px": task.height_px,
        "input_width_px": task.width_px,
    }
    model = build_model(ModelPlan.model_validate(plan))
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, nn.InstanceNorm2d(child.num_features, affine=True))
    return model


def _transforms(task: Task) -> Compose:
    shift_px = [2 * augmentation.MAX_SHIFT * side / 2 for side in (task.height_px, task.width_px)]
    return Compose(
        [
            EnsureTyped(("image", "label"), dtype=(np.float32, np.uint8)),
            RandAffined(
                ("image", "label"),
                prob=1.0,
                rotate_range=math.radians(augmentation.MAX_ROTATION_DEG),
                scale_range=augmentation.SCALE_RANGE[1] - 1.0,
                translate_range=shift_px,
                mode=("bilinear", "nearest"),
                padding_mode="border",
                cache_grid=True,
                spatial_size=(task.height_px, task.width_px),
            ),
            RandAdjustContrastd("image", prob=1.0, gamma=augmentation.GAMMA_RANGE),
            RandHistogramShiftd("image", prob=1.0, num_control_points=augmentation.NUM_KNOTS),
            RandGaussianNoised("image", prob=1.0, std=augmentation.MAX_NOISE),
        ]
    )


if __name__ == "__main__":
    main()
