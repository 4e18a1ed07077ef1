"""What a network should say of a batch, as far as its labels tell.

Axes: N images, C breast classes, H rows, W columns, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from shared.model.density_band import UNKNOWN_BAND
from shared.model.networks.contract import NUM_BREAST_CLASSES
from shared.model.segmentation import BreastClass, Segments

SegmentName = Literal["dense", "breast", "pectoral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the network should say of a batch.

    Attributes
    ----------
    possible_NCHW
        bool; the `BreastClass` that each pixel may have: one where it is known, all where nothing is.
    dense_NHW
        bool; tissue is dense. False where it is not known.
    dense_known_NHW
        bool; whether tissue is dense is known.
    band_N
        int64; the reader's category as a place in `BANDS`, or `UNKNOWN_BAND`.
    """

    possible_NCHW: Tensor
    dense_NHW: Tensor
    dense_known_NHW: Tensor
    band_N: Tensor

    @classmethod
    def complete(cls, breast_NHW: Tensor, dense_NHW: Tensor) -> Targets:
        """Targets of whose pixels nothing is unknown, of int64 `BreastClass` and bool."""
        possible_NHWC = functional.one_hot(breast_NHW, NUM_BREAST_CLASSES)
        return cls(
            possible_NCHW=possible_NHWC.permute(0, 3, 1, 2).bool(),
            dense_NHW=dense_NHW,
            dense_known_NHW=dense_NHW.new_ones(dense_NHW.shape),
            band_N=breast_NHW.new_full(breast_NHW.shape[:1], UNKNOWN_BAND),
        )

    def only(self, chosen: slice) -> Targets:
        """The targets of some images."""
        return Targets(
            possible_NCHW=self.possible_NCHW[chosen],
            dense_NHW=self.dense_NHW[chosen],
            dense_known_NHW=self.dense_known_NHW[chosen],
            band_N=self.band_N[chosen],
        )

    def shrunk(self, step: int) -> Targets:
        """Targets of an image of which each square of `step` pixels has become one: those of its middle."""
        some = slice(step // 2, None, step)
        return Targets(
            possible_NCHW=self.possible_NCHW[:, :, some, some],
            dense_NHW=self.dense_NHW[:, some, some],
            dense_known_NHW=self.dense_known_NHW[:, some, some],
            band_N=self.band_N,
        )

    def of_image(self, place: int, rows: int, columns: int) -> Targets:
        """Those of one image, within its first rows and columns."""
        here = (slice(place, place + 1), slice(rows), slice(columns))
        return Targets(
            possible_NCHW=self.possible_NCHW[here[0], :, here[1], here[2]],
            dense_NHW=self.dense_NHW[here],
            dense_known_NHW=self.dense_known_NHW[here],
            band_N=self.band_N[here[0]],
        )

    def known(self) -> Tensor:
        """Whether anything is known of each task, bool T in the order of `TASKS`."""
        return torch.stack([~self.possible_NCHW.all(), self.dense_known_NHW.any()])

    def drawn(self) -> frozenset[SegmentName]:
        """The segments of which every pixel is known to be in them, or not to be."""
        is_open_NHW = self.possible_NCHW.sum(dim=1) > 1
        names: dict[SegmentName, BreastClass] = {
            "breast": BreastClass.BREAST,
            "pectoral": BreastClass.PECTORAL,
        }
        drawn = {
            name for name, each in names.items() if not (is_open_NHW & self.possible_NCHW[:, each]).any()
        }
        return frozenset(drawn | {"dense"} if self.dense_known_NHW.all() else drawn)

    def segments(self) -> Segments:
        """The expert's segments; a class is where nothing else may be. See `drawn`."""
        known_NHW = self.possible_NCHW.sum(dim=1) == 1
        return Segments(
            breast_NHW=self.possible_NCHW[:, BreastClass.BREAST] & known_NHW,
            pectoral_NHW=self.possible_NCHW[:, BreastClass.PECTORAL] & known_NHW,
            dense_NHW=self.dense_NHW,
        )
