"""From a mammogram to the picture that networks see, and the way back.

The steps: find the breast, turn the chest wall to the left, crop to the breast, shrink, spread the
breast's grey values over the full range, and black out everything else. Label maps take the same way by
nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask, find_breast
from client.imaging.mammogram import Mammogram, Side, Spacing
from client.imaging.orientation import orient
from client.imaging.resample import Scalar, resize_image, resize_labels
from shared.errors import NotMammogramError

LONG_SIDE_PX = 1024
PERCENTILES = (0.5, 99.5)
BOX_MARGIN = 0.01
"""Room around the breast, as a share of the picture's long side: an expert's outline may lie further out."""
FULL_SCALE = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a prepared picture lies in its source.

    Attributes
    ----------
    source_shape
        Rows and columns of the source.
    mirrored
        The source was turned left to right before cropping.
    box
        First row, first column, rows and columns of the crop in the (turned) source.
    prepared_shape
        Rows and columns after shrinking.
    """

    source_shape: tuple[int, int]
    mirrored: bool
    box: tuple[int, int, int, int]
    prepared_shape: tuple[int, int]

    def crop(self, source_HW: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Turn and crop an array of the source's shape."""
        top, left, height, width = self.box
        turned_HW = source_HW[:, ::-1] if self.mirrored else source_HW
        return turned_HW[top : top + height, left : left + width]

    def labels_from_source(self, labels_HW: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Bring a label map of the source's shape onto the prepared picture."""
        return resize_labels(self.crop(labels_HW), *self.prepared_shape)

    def to_source(self, labels_HW: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Bring a label map of the prepared picture back onto the source; zero outside the crop."""
        top, left, height, width = self.box
        turned_HW = np.zeros(self.source_shape, labels_HW.dtype)
        turned_HW[top : top + height, left : left + width] = resize_labels(labels_HW, height, width)
        return turned_HW[:, ::-1].copy() if self.mirrored else turned_HW

    def prepared_spacing(self, spacing: Spacing) -> Spacing:
        """Pixel spacing of the prepared picture, from that of the source."""
        _, _, height, width = self.box
        return Spacing(
            row_mm=spacing.row_mm * height / self.prepared_shape[0],
            column_mm=spacing.column_mm * width / self.prepared_shape[1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """A mammogram as networks see it.

    Attributes
    ----------
    image_HW
        uint16; chest wall at the left, cropped to the breast, in-breast percentiles 0.5 and 99.5 at 0 and
        65535, zero outside the breast.
    breast_HW
        The breast found in the picture, pectoral muscle included.
    geometry
        The way back to the source.
    contradicts_header
        The header claims the chest wall at the other edge.
    """

    image_HW: npt.NDArray[np.uint16]
    breast_HW: Mask
    geometry: Geometry
    contradicts_header: bool


def prepare(mammogram: Mammogram, long_side_px: int = LONG_SIDE_PX) -> PreparedImage:
    """Prepare a mammogram; a small picture is never enlarged.

    Raises
    ------
    NotMammogramError
        There is no breast in the picture, or it has no contrast.
    """
    source_HW = mammogram.pixels_HW
    breast_HW = find_breast(source_HW)
    orientation = orient(breast_HW, mammogram.chest_wall)
    geometry = _geometry(breast_HW, orientation.chest_wall is Side.RIGHT, long_side_px)
    inside_HW = geometry.labels_from_source(breast_HW)
    shrunk_HW = resize_image(geometry.crop(source_HW).copy(), *geometry.prepared_shape)
    low, lower, upper, high = np.percentile(shrunk_HW[inside_HW], (PERCENTILES[0], 5, 95, PERCENTILES[1]))
    if not upper > lower:
        raise NotMammogramError(
            "The breast in the image has no contrast.", "Export the image again; its pixels are all alike."
        )
    scaled_HW = np.clip((shrunk_HW - low) / (high - low), 0, 1) * FULL_SCALE
    return PreparedImage(
        image_HW=np.where(inside_HW, np.rint(scaled_HW), 0).astype(np.uint16),
        breast_HW=inside_HW,
        geometry=geometry,
        contradicts_header=orientation.contradicts_header,
    )


def _geometry(breast_HW: Mask, mirrored: bool, long_side_px: int) -> Geometry:
    height, width = breast_HW.shape
    turned_HW = breast_HW[:, ::-1] if mirrored else breast_HW
    margin = round(BOX_MARGIN * max(height, width))
    rows = np.flatnonzero(turned_HW.any(axis=1))
    columns = np.flatnonzero(turned_HW.any(axis=0))
    top, bottom = max(0, rows[0] - margin), min(height, rows[-1] + 1 + margin)
    left, right = max(0, columns[0] - margin), min(width, columns[-1] + 1 + margin)
    box = (int(top), int(left), int(bottom - top), int(right - left))
    scale = min(1.0, long_side_px / max(box[2:]))
    return Geometry(
        source_shape=(height, width),
        mirrored=mirrored,
        box=box,
        prepared_shape=(max(1, round(box[2] * scale)), max(1, round(box[3] * scale))),
    )
