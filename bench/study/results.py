"""What an arm came to in one fold: a file of its own, so that a study goes on where it was interrupted.

Kept are counts of pixels, of which every figure of a report follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from client.inference.prediction import predict
from client.training.dataset import FittedDataset
from shared.files import write_file
from shared.model import Weights, model_around
from shared.model.segmentation import Segments, segments_of
from shared.plan import Plan

CLASSES = ("background", "adipose", "dense", "pectoral")
"""Every pixel is of one of them."""
SEGMENTS = (*CLASSES, "breast")

Settings = Mapping[str, Any]
"""What a plan sets otherwise than its defaults, so that a new setting makes no old result void."""


class Pixels(NamedTuple):
    """Of one segment in one image, at the scale of the network's input."""

    both: int
    measured: int
    expert: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """One test image under one model.

    Attributes
    ----------
    image
        Its name in the study's source.
    pixels
        Of each of `SEGMENTS`.
    """

    image: str
    pixels: Mapping[str, Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An arm in one fold.

    Attributes
    ----------
    settings
        Of the plan that it was trained under.
    num_steps
        Optimiser steps, of all sites together.
    images
        Test images by hospital.
    """

    arm: str
    fold: int
    settings: Settings
    num_steps: int
    seconds: float
    images: Mapping[str, list[ImageResult]]


class Results:
    """A folder of results, one JSON file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, arm: str, fold: int, settings: Settings) -> Result | None:
        """The result of an arm in a fold, if it was come to under these very settings."""
        file = self._file(arm, fold)
        if not file.exists():
            return None
        result = _read(file)
        return result if result.settings == settings else None

    def keep(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self._file(result.arm, result.fold), (json.dumps(asdict(result)) + "\n").encode())

    def _file(self, arm: str, fold: int) -> Path:
        return self.folder / f"{arm.replace(' ', '-')}-{fold}.json"


def settings_of(plan: Plan) -> Settings:
    """The settings by which results are known."""
    settings: Settings = plan.model_dump(mode="json", exclude_defaults=True)
    return settings


@torch.inference_mode()
def segmented(weights: Weights, images: FittedDataset, plan: Plan) -> list[ImageResult]:
    """Images under some weights, each without the padding around it; of each an expert drew every segment."""
    model = model_around(weights, plan.model).eval()
    results = []
    for place, name in enumerate(images.example_ids):
        batch, extent = images.batch([place]), images.extent(place)
        measured = _masks(segments_of(predict(model, batch.image_NCHW, plan.model)).of_image(0, *extent))
        expert = _masks(batch.targets().segments().of_image(0, *extent))
        pixels = {
            segment: Pixels(
                both=int((measured[segment] & expert[segment]).sum()),
                measured=int(measured[segment].sum()),
                expert=int(expert[segment].sum()),
            )
            for segment in SEGMENTS
        }
        results.append(ImageResult(image=name, pixels=pixels))
    return results


def _masks(segments: Segments) -> dict[str, torch.Tensor]:
    breast, dense, pectoral = segments.breast_NHW, segments.dense_NHW, segments.pectoral_NHW
    return {
        "background": ~(breast | pectoral),
        "adipose": breast & ~dense,
        "dense": dense,
        "pectoral": pectoral,
        "breast": breast,
    }


def _read(file: Path) -> Result:
    document = json.loads(file.read_text())
    images = {
        site: [
            ImageResult(
                image=image["image"],
                pixels={segment: Pixels(*counts) for segment, counts in image["pixels"].items()},
            )
            for image in of_site
        ]
        for site, of_site in document["images"].items()
    }
    return Result(**{**document, "images": images})
