"""A label map as LabelMe's JSON beside a picture of its image.

LabelMe's polygons have no holes, so a hole is cut open to its outline; and they are drawn in their order,
so the dense tissue lies on the breast and the pectoral muscle on both, as the intake reads them.

The picture shows the image whole, as a reader must see it to correct an outline, with whatever was burned
into it: it is for the hospital's own stations and never leaves.
"""

from __future__ import annotations

import io
import json

import numpy as np
import numpy.typing as npt
from PIL import Image

from client.annotation.contours import polygons_of
from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.imaging.mammogram import Mammogram
from client.imaging.preparation import PERCENTILES

FORMAT_VERSION = "5.4.1"
"""Of LabelMe, whose JSON this is; later ones read it."""
CLASSES: tuple[tuple[str, tuple[Label, ...]], ...] = (
    ("breast", (Label.ADIPOSE, Label.DENSE)),
    ("dense", (Label.DENSE,)),
    ("pectoral", (Label.PECTORAL,)),
)
DECIMALS = 2


def draw_labelme(labels_HW: npt.NDArray[np.uint8], picture_name: str, model_id: str) -> bytes:
    """The JSON of a label map.

    Parameters
    ----------
    labels_HW
        uint8 `Label` per pixel of the picture.
    picture_name
        Name of the picture's file, in the same folder.
    model_id
        The model that drew it, noted with every polygon.
    """
    height, width = labels_HW.shape
    shapes = [
        {
            "label": name,
            "points": polygon.round(DECIMALS).tolist(),
            "group_id": None,
            "description": f"drawn by {model_id}",
            "shape_type": "polygon",
            "flags": {},
        }
        for name, classes in CLASSES
        for polygon in polygons_of(np.isin(labels_HW, classes))
    ]
    document = {
        "version": FORMAT_VERSION,
        "flags": {"no dense": False, "no pectoral": False},  # a reader's word, in LabelMe a box to tick
        "shapes": shapes,
        "imagePath": picture_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(document, indent=1).encode()


def draw_picture(mammogram: Mammogram, breast_HW: Mask) -> bytes:
    """The whole image as an 8-bit PNG, its grey values spread between percentiles of the breast.

    Parameters
    ----------
    breast_HW
        The breast in the file's own pixels.
    """
    low, high = np.percentile(mammogram.pixels_HW[breast_HW], PERCENTILES)
    scaled_HW = (mammogram.pixels_HW - low) * (255 / max(high - low, np.finfo(np.float32).eps))
    buffer = io.BytesIO()
    Image.fromarray(np.rint(scaled_HW.clip(0, 255)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
