"""Small pictures of a few examples with the outlines of their masks: a look at what is trained on."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from client.catalog import Catalog, Part
from client.imaging.density import measure_density
from client.imaging.example import Example, Label, shown
from client.imaging.overlay import BREAST, DENSE, PECTORAL
from client.imaging.preparation import FULL_SCALE
from client.imaging.resample import resize_image, resize_labels

LONG_SIDE_PX = 320
NUM_SHOWN = 12
JPEG_QUALITY = 88
OUTLINES = (
    (DENSE, (Label.DENSE,)),
    (PECTORAL, (Label.PECTORAL,)),
    (BREAST, (Label.ADIPOSE, Label.DENSE)),
)
"""Colour and classes of each outline; the last is drawn on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A prepared example in small.

    Attributes
    ----------
    jpeg
        The picture, chest wall at the left.
    part
        None while there is no mask.
    percent_density
        Of the mask; None while there is none.
    """

    jpeg: bytes = field(repr=False)
    width: int
    height: int
    part: Part | None
    percent_density: float | None


def draw_contact_sheet(catalog: Catalog, *, seed: int, num_shown: int = NUM_SHOWN) -> tuple[Thumbnail, ...]:
    """Draw some examples at random; the same seed shows the same of an unchanged catalog.

    Raises
    ------
    StoreError
        An example is missing or damaged.
    """
    parts: dict[str, Part | None] = {each: part for part in Part for each in catalog.examples(part)}
    parts.update(dict.fromkeys(catalog.unlabelled()))
    ids = list(parts)
    chosen = np.random.default_rng(seed).permutation(len(ids))[:num_shown]
    return tuple(draw_thumbnail(catalog.load(ids[each]), parts[ids[each]]) for each in chosen)


def draw_thumbnail(example: Example, part: Part | None) -> Thumbnail:
    """Draw one example with the outlines of its mask."""
    height, width = _small(*example.image_HW.shape)
    image_HW = resize_image(example.image_HW.astype(np.float32), height, width)
    grey_HW = np.rint(image_HW.clip(0, FULL_SCALE) * (255 / FULL_SCALE)).astype(np.uint8)
    picture_HWC = np.repeat(grey_HW[:, :, None], 3, axis=2)
    density = None
    if example.labels_HW is not None:
        density = measure_density(example.labels_HW, None)
        _draw_outlines(picture_HWC, resize_labels(shown(example.labels_HW), height, width))
    buffer = io.BytesIO()
    # Without subsampling thin lines keep their colour.
    Image.fromarray(picture_HWC).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return Thumbnail(
        jpeg=buffer.getvalue(),
        width=width,
        height=height,
        part=part,
        percent_density=None if density is None else density.percent_density,
    )


def _small(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _draw_outlines(picture_HWC: npt.NDArray[np.uint8], labels_HW: npt.NDArray[np.uint8]) -> None:
    for colour, classes in OUTLINES:
        mask_HW = np.isin(labels_HW, classes)
        picture_HWC[mask_HW & ~ndimage.binary_erosion(mask_HW)] = colour
