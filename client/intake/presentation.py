"""From stored values to what a reader would see, by one table over the values that a file can hold.

A picture has millions of pixels and at most 65,536 values, so the standard's path is worked out once per
value and looked up per pixel:

1. modality transformation;
2. VOI: the first VOI LUT, else the first window with its function (PS3.3 C.11.2);
3. invert once if the photometric interpretation is MONOCHROME1 or else the presentation LUT is INVERSE
   (PS3.3 C.11.6), never for both;
4. padding (Pixel Padding Value, with its range limit) becomes the darkest value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from client.intake.decoding import Stored
from client.intake.exclusions import Reason, refusal

BLOCK_ROWS = 64
"""Rows looked up at once: NumPy widens their values to 64-bit indices, which should stay in the cache."""
MAX_VALUES = 1 << 16

Shown = npt.NDArray[np.float32]


def presented(dataset: Dataset, stored_HW: Stored) -> Shown:
    """The picture as a reader would see it: float32, finite, dense tissue bright, padding darkest.

    Raises
    ------
    UndecodableError
        The values span more than 16 bits, or the transformations make no finite values of them.
    """
    first, last = int(stored_HW.min()), int(stored_HW.max())
    if last - first >= MAX_VALUES:
        raise refusal(Reason.UNDECODABLE)
    values = np.arange(first, last + 1).astype(stored_HW.dtype)
    table = _table(dataset, values)
    padding = _padding(dataset, first, last)
    if padding is None:
        return _looked_up(table, stored_HW, first)
    padded = table.copy()
    padded[padding] = np.nan
    shown_HW = _looked_up(padded, stored_HW, first)
    # 4. The functions fmin and fmax pass over NaN.
    darkest = np.fmin.reduce(shown_HW, axis=None)
    if np.isnan(darkest):
        # A picture of nothing but padding has been labelled wrongly.
        return _looked_up(table, stored_HW, first)
    return np.fmax(shown_HW, darkest, out=shown_HW)


def _table(dataset: Dataset, values: Stored) -> Shown:
    """What a reader sees for each stored value."""
    seen = values
    rescaled = (dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)) != (1, 0)
    if rescaled or dataset.get("ModalityLUTSequence"):
        seen = apply_modality_lut(values, dataset)  # 1.
    table: Shown = apply_voi_lut(seen, dataset, index=0, prefer_lut=True).astype(np.float32)  # 2.
    if not np.isfinite(table).all():
        raise refusal(Reason.UNDECODABLE)
    return table.max() - table if _inverted(dataset) else table  # 3.


def _looked_up(table: Shown, stored_HW: Stored, first: int) -> Shown:
    if np.array_equal(table, np.arange(first, first + len(table))):
        return stored_HW.astype(np.float32)
    shown_HW = np.empty(stored_HW.shape, np.float32)
    for row in range(0, len(stored_HW), BLOCK_ROWS):
        rows = slice(row, row + BLOCK_ROWS)
        places_HW = np.subtract(stored_HW[rows], first, dtype=np.intp)
        np.take(table, places_HW, out=shown_HW[rows], mode="clip")
    return shown_HW


def _padding(dataset: Dataset, first: int, last: int) -> slice | None:
    """The places of the padding's values in a table from `first` to `last`."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    if not isinstance(limit, int):
        limit = value
    low, high = max(first, min(value, limit)), min(last, max(value, limit))
    return slice(low - first, high - first + 1) if low <= high else None


def _inverted(dataset: Dataset) -> bool:
    if str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        return True
    return str(dataset.get("PresentationLUTShape", "")) == "INVERSE"
