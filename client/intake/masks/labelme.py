"""Outlines drawn with LabelMe: one JSON file for one picture.

Polygons, rectangles (two opposite corners) and circles (the centre and a point on the edge) are regions;
other shapes have no area and are refused. A flag of the picture named "no dense" or "no pectoral", or a shape
of that name, says that there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import FailFast, Field

from client.intake.masks.drawing import MAX_REGIONS, Drawing
from client.intake.masks.json_text import Points, Written, parse, read_bytes
from client.intake.masks.layers import WITHOUT_REGION, Regions, known_layer, layer_named
from client.intake.masks.mask_file import check_size, malformed, stem
from shared.errors import MaskError

FORM = "LabelMe"
KIND = "labelme"
CIRCLE_VERTICES = 180
UID = re.compile(r"[0-9]+(\.[0-9]+)+")


class _Shape(Written):
    label: str
    points: Points
    shape_type: str = "polygon"


class _File(Written):
    shapes: Annotated[list[_Shape], Field(max_length=MAX_REGIONS), FailFast()]
    flags: dict[str, bool] | None = None
    image_height: int = Field(alias="imageHeight")
    image_width: int = Field(alias="imageWidth")


@dataclass(frozen=True, slots=True)
class LabelMe:
    """A file of LabelMe."""

    path: Path

    def __call__(self, shape: tuple[int, int]) -> Regions:
        return draw_outlines(read_bytes(self.path, FORM), shape)


def draw_outlines(content: bytes, shape: tuple[int, int]) -> Regions:
    """The regions that a file of this content draws; raises MaskError."""
    file = parse(_File, content, FORM)
    check_size((file.image_height, file.image_width), shape)  # 1.
    drawing = Drawing(shape, FORM)
    for name, holds in (file.flags or {}).items():
        statement = layer_named(name)
        if holds and statement in WITHOUT_REGION:
            drawing.declare(statement)
    for drawn in file.shapes:
        layer = known_layer(layer_named(drawn.label))  # 2.
        if layer in WITHOUT_REGION:
            drawing.declare(layer)
        else:
            drawing.add_polygon(layer, _outline(drawn))
    return drawing.regions()


def key_of(path: Path, image_path: str) -> str:
    """The image's key: the file's own stem, unless only the name of its picture is a UID."""
    own, picture = stem(path.name), stem(image_path)
    return picture if UID.fullmatch(picture) and not UID.fullmatch(own) else own


def _outline(shape: _Shape) -> npt.NDArray[np.float64]:
    points_N2 = np.array(shape.points, np.float64).reshape(-1, 2)
    match shape.shape_type:
        case "polygon":
            return points_N2
        case "rectangle" | "circle" if len(points_N2) != 2:
            raise malformed(FORM)
        case "rectangle":
            (left, top), (right, bottom) = points_N2
            return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        case "circle":
            centre, edge = points_N2
            angles = np.linspace(0, 2 * np.pi, CIRCLE_VERTICES, endpoint=False)
            radius = np.hypot(*(edge - centre))
            return np.asarray(centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    raise MaskError(
        "A LabelMe mask holds a shape that has no area.",
        "Draw polygons, rectangles or circles only, and remove points, lines and machine-made masks.",
    )
