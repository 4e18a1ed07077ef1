"""Regions in the form of COCO: one JSON file for many pictures.

A region is a list of polygons or a run-length code, plain or compressed. A picture that is listed and has no
annotation has no mask. An annotation of a category "no dense" or "no pectoral" says that there is none; its
region is not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import FailFast, Field, TypeAdapter, ValidationError

from client.intake.masks.drawing import Drawing
from client.intake.masks.json_text import MAX_VERTICES, Number, Written, parse
from client.intake.masks.layers import WITHOUT_REGION, Layer, Regions, known_layer, layer_named
from client.intake.masks.mask_file import MaskFile, check_size, malformed, stem
from client.intake.masks.run_length import MAX_RUNS, decode_runs, unpack_counts

FORM = "COCO"
KIND = "coco"

_Id = int | str


class _Image(Written):
    id: _Id
    file_name: str
    height: int
    width: int


class _Category(Written):
    id: _Id
    name: str


class _Annotation(Written):
    image_id: _Id
    category_id: _Id
    segmentation: Any = None


class _File(Written):
    images: Annotated[list[_Image], FailFast()]
    categories: Annotated[list[_Category], FailFast()]
    annotations: Annotated[list[_Annotation], FailFast()]


class _Runs(Written):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]


class _PlainRuns(_Runs):
    counts: Annotated[list[int], Field(max_length=MAX_RUNS), FailFast()]


class _PackedRuns(_Runs):
    counts: str


_Polygon = Annotated[list[Number], Field(max_length=2 * MAX_VERTICES), FailFast()]
_POLYGONS = TypeAdapter(Annotated[list[_Polygon], FailFast()])
_RUNS: TypeAdapter[_PlainRuns | _PackedRuns] = TypeAdapter(_PlainRuns | _PackedRuns)


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoDrawing:
    """The annotations of one picture.

    Attributes
    ----------
    size
        Rows and columns, as the file says.
    annotations
        Name of the category, None without one, and the region as JSON gave it.
    """

    size: tuple[int, int]
    annotations: tuple[tuple[str | None, Any], ...]

    def __call__(self, shape: tuple[int, int]) -> Regions:
        check_size(self.size, shape)  # 1.
        drawing = Drawing(shape, FORM)
        for name, segmentation in self.annotations:
            layer = known_layer(None if name is None else layer_named(name))  # 2.
            if layer in WITHOUT_REGION:
                drawing.declare(layer)
            else:
                _add(drawing, layer, segmentation, shape)
        return drawing.regions()


def read_coco(content: bytes) -> tuple[list[MaskFile], list[str]]:
    """A mask for every picture that has an annotation, and the names of all pictures; raises MaskError."""
    file = parse(_File, content, FORM)
    names = {category.id: category.name for category in file.categories}
    regions: defaultdict[_Id, list[tuple[str | None, Any]]] = defaultdict(list)
    for annotation in file.annotations:
        regions[annotation.image_id].append((names.get(annotation.category_id), annotation.segmentation))
    masks = [
        MaskFile(
            key=stem(image.file_name),
            kind=KIND,
            draw=CocoDrawing(size=(image.height, image.width), annotations=tuple(regions[image.id])),
        )
        for image in file.images
        if image.id in regions
    ]
    return masks, [image.file_name for image in file.images]


def _add(drawing: Drawing, layer: Layer, segmentation: Any, shape: tuple[int, int]) -> None:
    try:
        if isinstance(segmentation, list):
            for polygon in _POLYGONS.validate_python(segmentation, strict=True):
                drawing.add_polygon(layer, np.array(polygon, np.float64).reshape(-1, 2))
            return
        runs = _RUNS.validate_python(segmentation, strict=True)
        check_size((runs.size[0], runs.size[1]), shape)  # 1.
        counts = unpack_counts(runs.counts) if isinstance(runs, _PackedRuns) else runs.counts
        drawing.add_region(layer, decode_runs(counts, shape))
    except (ValidationError, ValueError):
        # The text of a ValidationError quotes the file.
        raise malformed(FORM) from None
