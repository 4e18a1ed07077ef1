"""From a mammogram to the picture that networks see, and the way back.

The steps, numbered where they happen; label maps take the same way by nearest neighbour:

1. find the breast, on a small copy;
2. turn the chest wall to the left and crop to the breast;
3. shrink to square pixels of one size in mm, or where their size is unknown to one number of pixels;
4. spread the breast's grey values over the full range, and black out everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask, find_breast
from client.imaging.mammogram import Mammogram, Side, Spacing
from client.imaging.orientation import orient
from client.imaging.resample import Scalar, nearest, resize_image, resize_labels
from shared.errors import NotMammogramError

PIXEL_MM = 0.2
"""Of a prepared picture: coarser than any detector (0.05 to 0.1 mm), so that all detectors look alike,
and finer than what networks are fed, so that nothing of use to them is lost."""
LONG_SIDE_PX = 1024
"""Where the spacing is unknown: a breast 200 mm long comes near to `PIXEL_MM` by this."""
MAX_LONG_SIDE_PX = 2048
"""410 mm, longer than any detector; a wrong spacing must not fill the memory."""
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

    def to_source(self, labels_HW: npt.NDArray[Scalar], step: int = 1) -> npt.NDArray[Scalar]:
        """Bring a label map of the prepared picture back onto the source; zero outside the crop.

        With a step, only every so many rows and columns of the source, those at `step // 2` first.
        """
        top, left, height, width = self.box
        rows = np.arange(step // 2, self.source_shape[0], step) - top
        columns = np.arange(step // 2, self.source_shape[1], step)
        columns = (self.source_shape[1] - 1 - columns if self.mirrored else columns) - left
        inside_H, inside_W = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        source_HW = np.zeros((len(rows), len(columns)), labels_HW.dtype)
        source_HW[np.ix_(inside_H, inside_W)] = labels_HW[
            nearest(rows[inside_H], height, self.prepared_shape[0])[:, None],
            nearest(columns[inside_W], width, self.prepared_shape[1])[None, :],
        ]
        return source_HW

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


def prepare(mammogram: Mammogram, like: Geometry | None = None) -> PreparedImage:
    """Prepare a mammogram; its pixels are never enlarged.

    Parameters
    ----------
    like
        How the picture lay in its source when it was prepared before: where the breast still lies there, the
        picture gets the same size again, though the spacing may have become known since.

    Raises
    ------
    NotMammogramError
        There is no breast in the picture, or it has no contrast.
    """
    source_HW = mammogram.pixels_HW
    small_HW = find_breast(source_HW)  # 1.
    orientation = orient(small_HW, mammogram.chest_wall)
    mirrored = orientation.chest_wall is Side.RIGHT
    turned_HW = small_HW[:, ::-1] if mirrored else small_HW
    box = _box(turned_HW, source_HW.shape)
    geometry = Geometry(
        source_shape=(source_HW.shape[0], source_HW.shape[1]),
        mirrored=mirrored,
        box=box,
        prepared_shape=_prepared_shape(box, mammogram.spacing),
    )
    if like is not None and replace(geometry, prepared_shape=like.prepared_shape) == like:
        geometry = like
    # 2. and 3. Turning the small result takes less than turning the large crop.
    crop_HW = geometry.crop(source_HW)
    shrunk_HW = resize_image(crop_HW[:, ::-1] if mirrored else crop_HW, *geometry.prepared_shape)
    shrunk_HW = shrunk_HW[:, ::-1] if mirrored else shrunk_HW
    inside_HW = _resized_mask(turned_HW, geometry)
    return PreparedImage(
        image_HW=_spread(shrunk_HW, inside_HW),
        breast_HW=inside_HW,
        geometry=geometry,
        contradicts_header=orientation.contradicts_header,
    )


def _box(turned_HW: Mask, source_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The breast's rows and columns with their margin, in pixels of the source."""
    margin = BOX_MARGIN * max(source_shape)
    box = []
    for axis, size in enumerate(source_shape):
        filled = np.flatnonzero(turned_HW.any(axis=1 - axis))
        scale = size / turned_HW.shape[axis]
        first = max(0, round(int(filled[0]) * scale - margin))
        last = min(size, round((int(filled[-1]) + 1) * scale + margin))
        box.append((first, last - first))
    (top, height), (left, width) = box
    return top, left, height, width


def _prepared_shape(box: tuple[int, int, int, int], spacing: Spacing | None) -> tuple[int, int]:
    _, _, height, width = box
    if spacing is None:
        scale = min(1.0, LONG_SIDE_PX / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))
    height_mm, width_mm = height * spacing.row_mm, width * spacing.column_mm
    pixel_mm = max(
        PIXEL_MM, spacing.row_mm, spacing.column_mm, height_mm / MAX_LONG_SIDE_PX, width_mm / MAX_LONG_SIDE_PX
    )
    return max(1, round(height_mm / pixel_mm)), max(1, round(width_mm / pixel_mm))


def _resized_mask(turned_HW: Mask, geometry: Geometry) -> Mask:
    """The part of a small mask of the whole (turned) source that lies on the prepared picture."""
    rows = turned_HW.shape[0] / geometry.source_shape[0]
    columns = turned_HW.shape[1] / geometry.source_shape[1]
    top, left, height, width = geometry.box
    box = (top * rows, left * columns, height * rows, width * columns)
    resized: Mask = resize_image(turned_HW.astype(np.float32), *geometry.prepared_shape, box) > 0.5
    return resized


def _spread(shrunk_HW: npt.NDArray[np.float32], inside_HW: Mask) -> npt.NDArray[np.uint16]:
    # 4.
    low, lower, upper, high = _percentiles(shrunk_HW[inside_HW], (PERCENTILES[0], 5, 95, PERCENTILES[1]))
    if not upper > lower:
        raise NotMammogramError(
            "The breast in the image has no contrast.", "Export the image again; its pixels are all alike."
        )
    scaled_HW = (shrunk_HW - low) * np.float32(FULL_SCALE / (high - low))
    np.rint(scaled_HW.clip(0, FULL_SCALE, out=scaled_HW), out=scaled_HW)
    scaled_HW[~inside_HW] = 0
    return scaled_HW.astype(np.uint16)


def _percentiles(values: npt.NDArray[np.float32], percentiles: tuple[float, ...]) -> list[float]:
    """To 1/65535 of the values' range, from a histogram: sorting takes twice as long."""
    first, last = float(values.min()), float(values.max())
    if not last > first:
        return [first] * len(percentiles)
    levels = ((values - first) * np.float32(FULL_SCALE / (last - first))).astype(np.uint16)
    counted = np.cumsum(np.bincount(levels, minlength=FULL_SCALE + 1))
    places = np.searchsorted(counted, np.array(percentiles) / 100 * levels.size)
    return [first + (last - first) * int(place) / FULL_SCALE for place in places]
