"""Examples at the network's input size, kept ready in memory between rounds.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from client.imaging.example import POSSIBLE, Example, Label
from client.imaging.mammogram import Spacing
from client.imaging.network_input import Frame, frame_of
from shared.bands import BANDS
from shared.errors import NotReadyError
from shared.model.density_band import UNKNOWN_BAND
from shared.model.segmentation import BreastClass
from shared.model.targets import Targets
from shared.plan import ModelPlan

_SEGMENT = {
    Label.BACKGROUND: BreastClass.BACKGROUND,
    Label.ADIPOSE: BreastClass.BREAST,
    Label.DENSE: BreastClass.BREAST,
    Label.PECTORAL: BreastClass.PECTORAL,
}
_POSSIBLE_CL = torch.tensor(
    [
        [breast_class in {_SEGMENT[label] for label in POSSIBLE[each]} for each in Label]
        for breast_class in BreastClass
    ]
)
"""Whether a pixel of each label may be of each breast class."""
_DENSE_KNOWN_L = torch.tensor([each is Label.DENSE or Label.DENSE not in POSSIBLE[each] for each in Label])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images of equal size and their label maps.

    Attributes
    ----------
    image_NCHW
        float32 in [0, 1], one channel.
    labels_NHW
        uint8 `Label`.
    band_N
        int64; the reader's category as a place in `BANDS`, or `UNKNOWN_BAND`.
    """

    image_NCHW: Tensor
    labels_NHW: Tensor
    band_N: Tensor

    def targets(self) -> Targets:
        """The label maps as the two tasks of the network, with what they leave open."""
        labels_NHW, device = self.labels_NHW.long(), self.labels_NHW.device
        return Targets(
            possible_NCHW=_POSSIBLE_CL.to(device)[:, labels_NHW].transpose(0, 1),
            dense_NHW=self.labels_NHW == Label.DENSE,
            dense_known_NHW=_DENSE_KNOWN_L.to(device)[labels_NHW],
            band_N=self.band_N,
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; one whose memory is pinned goes there while others are computed."""
        return Batch(
            image_NCHW=self.image_NCHW.to(device, non_blocking=True),
            labels_NHW=self.labels_NHW.to(device, non_blocking=True),
            band_N=self.band_N.to(device, non_blocking=True),
        )

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU reads by itself."""
        return Batch(
            image_NCHW=self.image_NCHW.pin_memory(),
            labels_NHW=self.labels_NHW.pin_memory(),
            band_N=self.band_N.pin_memory(),
        )


class FittedDataset:
    """Examples brought once to a network's scale; 16-bit values and labels cost three bytes a pixel.

    Parameters
    ----------
    examples
        Prepared examples with masks or categories, at least one; each is let go before the next is taken.
    plan
        Gives the input's height and width.

    Raises
    ------
    NotReadyError
        There is no example.
    """

    def __init__(self, examples: Iterable[Example], plan: ModelPlan) -> None:
        ids, self._images, self._labels = [], list[Tensor](), list[Tensor]()
        self._frames, self._spacings = list[Frame](), list[Spacing | None]()
        self._bands: list[int] = []
        self._input = (plan.input_height_px, plan.input_width_px)
        for example in examples:
            frame = frame_of(_shape_of(example), example.spacing, plan)
            ids.append(example.example_id)
            self._frames.append(frame)
            self._spacings.append(example.spacing)
            self._images.append(frame.image(example.image_HW)[0].to(torch.float16))
            self._labels.append(_labels_of(example, frame))
            self._bands.append(UNKNOWN_BAND if example.density is None else BANDS.index(example.density))
        if not ids:
            raise NotReadyError(
                "There is no example to train or evaluate on.", "Add more mammograms with masks to the site."
            )
        self.example_ids = tuple(ids)

    def __len__(self) -> int:
        return len(self.example_ids)

    def extent(self, index: int) -> tuple[int, int]:
        """Rows and columns that an example takes at the top left of its image."""
        return self._frames[index].scaled

    def spacing(self, index: int) -> Spacing | None:
        """Of the pixels of an example's image; None if it is unknown."""
        spacing = self._spacings[index]
        return None if spacing is None else self._frames[index].scaled_spacing(spacing)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The examples at these positions, in this order, whole: with zeros up to the largest of them."""
        height = max(self._images[index].shape[0] for index in indices)
        width = max(self._images[index].shape[1] for index in indices)
        image_NCHW = torch.zeros((len(indices), 1, height, width))
        labels_NHW = torch.zeros((len(indices), height, width), dtype=torch.uint8)
        for place, index in enumerate(indices):
            rows, columns = self._images[index].shape
            image_NCHW[place, 0, :rows, :columns] = self._images[index]
            labels_NHW[place, :rows, :columns] = self._labels[index]
        return Batch(image_NCHW=image_NCHW, labels_NHW=labels_NHW, band_N=self._bands_of(indices))

    def windows(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """A window of the input's size at a random place of each example; all of an example that fits in."""
        height, width = self._input
        images, labels = [], []
        for index in indices:
            rows, columns = self._images[index].shape
            top, left = _place(rows - height, generator), _place(columns - width, generator)
            window = (slice(top, top + height), slice(left, left + width))
            images.append(self._images[index][window])
            labels.append(self._labels[index][window])
        return Batch(
            image_NCHW=torch.stack(images)[:, None].float(),
            labels_NHW=torch.stack(labels),
            band_N=self._bands_of(indices),
        )

    def _bands_of(self, indices: Sequence[int]) -> Tensor:
        return torch.tensor([self._bands[index] for index in indices])


def _place(room: int, generator: torch.Generator) -> int:
    """A place among `room` pixels that a window can move by; without room, no number is drawn."""
    return int(torch.randint(room + 1, (), generator=generator)) if room else 0


def _shape_of(example: Example) -> tuple[int, int]:
    rows, columns = example.image_HW.shape
    return rows, columns


def _labels_of(example: Example, frame: Frame) -> Tensor:
    """On the frame's canvas; of an example that has but a category, nothing is known."""
    if example.labels_HW is None:
        return torch.full(frame.canvas, Label.UNKNOWN, dtype=torch.uint8)
    return torch.from_numpy(frame.labels(example.labels_HW))
