"""How well a model agrees with a site's expert masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from client.inference.prediction import predict
from client.training.dataset import FittedDataset
from shared.model.losses import MultitaskLoss
from shared.model.metrics import dice, percent_density_error
from shared.model.segmentation import segments_of
from shared.plan import ModelPlan, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetrics:
    """Agreement on one example; never leaves the site. Dice in [0, 1], density error in percentage points."""

    example_id: str
    loss: float
    dice_dense: float
    dice_breast: float
    dice_pectoral: float
    percent_density_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Agreement at a site: means over its images.

    Attributes
    ----------
    loss
        The training loss, of each image alone.
    dice_dense, dice_breast, dice_pectoral
        In [0, 1]; an image that lacks the class, and is found to lack it, counts 1.
    percent_density_mae
        Mean absolute error of percent density, in percentage points.
    num_examples
        Images evaluated.
    """

    loss: float
    dice_dense: float
    dice_breast: float
    dice_pectoral: float
    percent_density_mae: float
    num_examples: int


def evaluate(model: nn.Module, dataset: FittedDataset, plan: Plan, device: torch.device) -> Metrics:
    """Agreement of a model with a dataset's masks, at the network's input size."""
    images = evaluate_images(model, dataset, plan, device)
    return Metrics(
        loss=_mean([image.loss for image in images]),
        dice_dense=_mean([image.dice_dense for image in images]),
        dice_breast=_mean([image.dice_breast for image in images]),
        dice_pectoral=_mean([image.dice_pectoral for image in images]),
        percent_density_mae=_mean([image.percent_density_error for image in images]),
        num_examples=len(images),
    )


def evaluate_images(
    model: nn.Module, dataset: FittedDataset, plan: Plan, device: torch.device
) -> list[ImageMetrics]:
    """Agreement on each example, in the dataset's order."""
    model.to(device).eval()
    return [
        metrics
        for start in range(0, len(dataset), plan.training.batch_size)
        for metrics in _evaluate_batch(
            model,
            dataset,
            range(start, min(start + plan.training.batch_size, len(dataset))),
            plan.model,
            device,
        )
    ]


@torch.inference_mode()
def _evaluate_batch(
    model: nn.Module, dataset: FittedDataset, indices: range, plan: ModelPlan, device: torch.device
) -> list[ImageMetrics]:
    loss_function = MultitaskLoss(plan.loss)
    batch = dataset.batch(indices).to(device)
    logits = predict(model, batch.image_NCHW, plan)
    targets = batch.targets()
    measured, expert = segments_of(logits), targets.segments()
    dense_N = dice(measured.dense_NHW, expert.dense_NHW).tolist()
    breast_N = dice(measured.breast_NHW, expert.breast_NHW).tolist()
    pectoral_N = dice(measured.pectoral_NHW, expert.pectoral_NHW).tolist()
    density_error_N = percent_density_error(measured, expert).tolist()
    losses = [
        loss_function(
            {"breast": logits["breast"][place : place + 1], "dense": logits["dense"][place : place + 1]},
            targets.only(slice(place, place + 1)),
        ).plain.item()
        for place in range(len(indices))
    ]
    return [
        ImageMetrics(
            example_id=dataset.example_ids[index],
            loss=losses[place],
            dice_dense=dense_N[place],
            dice_breast=breast_N[place],
            dice_pectoral=pectoral_N[place],
            percent_density_error=density_error_N[place],
        )
        for place, index in enumerate(indices)
    ]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
