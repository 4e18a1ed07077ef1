"""What an arm came to in one fold: a file of its own, so that a study goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from client.evaluation.images import ImageMetrics
from shared.files import write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """One test image under one model.

    Attributes
    ----------
    image
        Its name in the study's source.
    dice_dense, dice_breast, dice_pectoral
        In [0, 1].
    percent_density, expert_percent_density
        In %.
    """

    image: str
    dice_dense: float
    dice_breast: float
    dice_pectoral: float
    percent_density: float
    expert_percent_density: float

    @classmethod
    def of(cls, metrics: ImageMetrics) -> ImageResult:
        """An image of which an expert has drawn every segment."""
        values = {name: getattr(metrics, name) for name in cls.__slots__ if name != "image"}
        assert None not in values.values()
        return cls(image=metrics.example_id, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An arm in one fold.

    Attributes
    ----------
    plan_sha256
        Of the plan that it was trained under.
    num_steps
        Optimiser steps, of all sites together.
    images
        Test images by hospital.
    """

    arm: str
    fold: int
    plan_sha256: str
    num_steps: int
    seconds: float
    images: Mapping[str, list[ImageResult]]


class Results:
    """A folder of results, one JSON file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, arm: str, fold: int, plan_sha256: str) -> Result | None:
        """The result of an arm in a fold, if it was come to under this very plan."""
        file = self._file(arm, fold)
        if not file.exists():
            return None
        result = _read(file)
        return result if result.plan_sha256 == plan_sha256 else None

    def keep(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(result), indent=1) + "\n"
        write_file(self._file(result.arm, result.fold), content.encode())

    def under(self, plan_sha256: str) -> list[Result]:
        """Every result that was come to under a plan, by arm and fold."""
        found = [_read(file) for file in self.folder.glob("*.json")]
        return sorted(
            (one for one in found if one.plan_sha256 == plan_sha256), key=lambda one: (one.arm, one.fold)
        )

    def _file(self, arm: str, fold: int) -> Path:
        return self.folder / f"{arm.replace(' ', '-')}-{fold}.json"


def _read(file: Path) -> Result:
    document = json.loads(file.read_text())
    images = {
        site: [ImageResult(**image) for image in of_site] for site, of_site in document["images"].items()
    }
    return Result(**{**document, "images": images})
