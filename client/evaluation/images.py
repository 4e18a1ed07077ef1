"""How well a model agrees with a site's expert masks, image by image, at the scale of the network's input.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from client.evaluation.overlap import dice
from client.evaluation.reliability import Reliability, reliability
from client.evaluation.surfaces import SurfaceDistance, surface_distance
from client.imaging.mammogram import Spacing
from client.inference.prediction import likely_bands, predict
from client.training.dataset import FittedDataset
from shared.errors import NonFiniteError, StoppedError
from shared.model.density_band import DensityBand
from shared.model.losses import MultitaskLoss
from shared.model.segmentation import Segments, segments_of
from shared.model.targets import SegmentName, Targets
from shared.plan import MetricName, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """How far the outlines of each segment lie apart, measured and drawn.

    Attributes
    ----------
    in_mm
        Whether distances are in mm; else in pixels of the network's input, for the spacing is unknown.
    """

    in_mm: bool
    dense: SurfaceDistance | None
    breast: SurfaceDistance | None
    pectoral: SurfaceDistance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetrics:
    """Agreement on one example; never leaves the site.

    Attributes
    ----------
    loss
        The training loss of the segments, of this image alone; None where nothing is known of them.
    dice_dense, dice_breast, dice_pectoral
        In [0, 1]; an image that lacks the segment, and is found to lack it, counts 1. None where no expert
        has drawn the segment, or said that there is none.
    percent_density, expert_percent_density
        As measured, and by the expert's masks, in %; None where dense tissue or breast was not drawn.
    band
        By the model's head for density bands; None of a model without one.
    outlines, reliability
        None where they were not asked for, or nobody has drawn what they need.
    """

    example_id: str
    loss: float | None
    dice_dense: float | None
    dice_breast: float | None
    dice_pectoral: float | None
    percent_density: float
    expert_percent_density: float | None
    band: DensityBand | None = None
    outlines: Outlines | None = None
    reliability: Reliability | None = None

    @property
    def percent_density_error(self) -> float | None:
        """Absolute difference of percent density, in percentage points; None where an expert's is missing."""
        if self.expert_percent_density is None:
            return None
        return abs(self.percent_density - self.expert_percent_density)


def evaluate_images(
    model: nn.Module,
    dataset: FittedDataset,
    plan: Plan,
    device: torch.device,
    *,
    asked: Collection[MetricName] = (),
    places: Sequence[int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[ImageMetrics]:
    """Agreement on each example, in the dataset's order.

    Parameters
    ----------
    asked
        `hausdorff` and `calibration` are computed only if they are among them.
    places
        Of the examples, if not all are evaluated; in that order.
    should_stop
        Asked before every batch.

    Raises
    ------
    NonFiniteError
        The model says something of an example that is not finite.
    StoppedError
        `should_stop` said so.
    """
    model.to(device).eval()
    chosen = range(len(dataset)) if places is None else places
    size = plan.training.batch_size
    images: list[ImageMetrics] = []
    for start in range(0, len(chosen), size):
        if should_stop():
            raise StoppedError("An evaluation was stopped.", "Nothing of it leaves this site.")
        batch = chosen[start : start + size]
        images += _evaluate_batch(model, dataset, batch, plan, device, asked)
    return images


@torch.inference_mode()
def _evaluate_batch(
    model: nn.Module,
    dataset: FittedDataset,
    indices: Sequence[int],
    plan: Plan,
    device: torch.device,
    asked: Collection[MetricName],
) -> list[ImageMetrics]:
    loss_function = MultitaskLoss(plan.model.loss)
    batch = dataset.batch(indices).to(device)
    logits = predict(model, batch.image_NCHW, plan.model)
    targets = batch.targets()
    losses = [
        loss_function(
            {"breast": logits["breast"][place : place + 1], "dense": logits["dense"][place : place + 1]},
            targets.only(slice(place, place + 1)),
        ).plain.item()
        for place in range(len(indices))
    ]
    if not all(map(math.isfinite, losses)):
        raise NonFiniteError(
            "The loss of an example is not finite.", "Tell the coordinator: the model has diverged."
        )
    measured = segments_of(logits)
    probability_NHW = logits["dense"][:, 0].float().sigmoid()
    seen = []
    for place, index in enumerate(indices):
        rows, columns = dataset.extent(index)
        seen.append(
            _Seen(
                example_id=dataset.example_ids[index],
                loss=losses[place],
                measured=measured.of_image(place, rows, columns),
                target=targets.of_image(place, rows, columns),
                probability_HW=probability_NHW[place, :rows, :columns],
                spacing=dataset.spacing(index),
            )
        )
    percent_density_N = torch.cat([each.measured.percent_density() for each in seen])
    bands = likely_bands(model, percent_density_N, logits)
    return [each.metrics(asked, band) for each, band in zip(seen, bands, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One image as the model and the expert see it, without the padding around it.

    Attributes
    ----------
    measured, target
        Of this image alone.
    probability_HW
        float32; of dense tissue.
    spacing
        Of these pixels; None if it is unknown.
    """

    example_id: str
    loss: float
    measured: Segments
    target: Targets
    probability_HW: Tensor
    spacing: Spacing | None

    def metrics(self, asked: Collection[MetricName], band: DensityBand | None) -> ImageMetrics:
        expert, drawn = self.target.segments(), self.target.drawn()
        has_density = {"dense", "breast"} <= drawn
        masks: dict[SegmentName, tuple[Tensor, Tensor]] = {
            "dense": (self.measured.dense_NHW, expert.dense_NHW),
            "breast": (self.measured.breast_NHW, expert.breast_NHW),
            "pectoral": (self.measured.pectoral_NHW, expert.pectoral_NHW),
        }
        known = {name: pair for name, pair in masks.items() if name in drawn}
        overlaps = {name: dice(*pair).item() for name, pair in known.items()}
        return ImageMetrics(
            example_id=self.example_id,
            loss=self.loss if self.target.known().any() else None,
            dice_dense=overlaps.get("dense"),
            dice_breast=overlaps.get("breast"),
            dice_pectoral=overlaps.get("pectoral"),
            percent_density=self.measured.percent_density().item(),
            expert_percent_density=expert.percent_density().item() if has_density else None,
            band=band,
            outlines=self._outlines(known) if "hausdorff" in asked else None,
            reliability=self._reliability(expert) if "calibration" in asked and has_density else None,
        )

    def _outlines(self, masks: Mapping[SegmentName, tuple[Tensor, Tensor]]) -> Outlines:
        steps = (1.0, 1.0) if self.spacing is None else (self.spacing.row_mm, self.spacing.column_mm)
        apart = {
            name: surface_distance(_on_cpu(measured_NHW[0]), _on_cpu(expert_NHW[0]), steps)
            for name, (measured_NHW, expert_NHW) in masks.items()
        }
        return Outlines(
            in_mm=self.spacing is not None,
            dense=apart.get("dense"),
            breast=apart.get("breast"),
            pectoral=apart.get("pectoral"),
        )

    def _reliability(self, expert: Segments) -> Reliability | None:
        dense_HW, breast_HW = expert.dense_NHW[0], expert.breast_NHW[0]
        return reliability(_on_cpu(self.probability_HW), _on_cpu(dense_HW), _on_cpu(breast_HW))


def _on_cpu(tensor_HW: Tensor) -> npt.NDArray[Any]:
    array_HW: npt.NDArray[Any] = tensor_HW.cpu().numpy()
    return array_HW
