"""A mask on the disk, whatever its form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from client.imaging.breast_mask import Mask
from client.imaging.example import shown
from client.intake.masks.layers import Labels, Layer, Regions, paint
from shared.errors import MaskError

Draw = Callable[[tuple[int, int]], Regions]
"""Gives the regions of an image of that shape (rows, columns); can be pickled; raises IntakeError."""

ENDINGS = (".nii.gz", ".nii", ".json", ".dcm", ".dicom", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFile:
    """A mask of one image. The key is left out of its printed form.

    Attributes
    ----------
    key
        SOP Instance UID of the image, or the stem of its file's name.
    kind
        Form, as the catalog notes it: "png", "tiff", "nifti", "labelme", "coco", "seg"; "json" and "dicom"
        for a file whose form could not be told.
    position
        Place of its file in the folder's listing, from 1; 0 for a file that was named by itself.
    among_images
        The listing is that of the images.
    by_model
        Its file says that a program alone has drawn it.
    """

    key: str = field(repr=False)
    kind: str
    draw: Draw = field(repr=False)
    position: int = 0
    among_images: bool = False
    by_model: bool = False

    def read(self, shape: tuple[int, int]) -> Labels:
        """uint8 `Label` per pixel, in the orientation and size of the image's file.

        Raises
        ------
        IntakeError
            The mask's file cannot be read.
        UndecodableError
            A label map is damaged.
        MaskError
            The mask is malformed, or fails one of the checks 1 to 4.
        """
        return paint(self.draw(shape), shape)


@dataclass(frozen=True, slots=True)
class Joined:
    """Several masks of one image, each of other classes."""

    parts: tuple[Draw, ...]

    def __call__(self, shape: tuple[int, int]) -> Regions:
        regions: dict[Layer, Mask] = {}
        for part in self.parts:
            drawn = part(shape)
            if drawn.keys() & regions.keys() - {Layer.BACKGROUND}:
                raise MaskError(
                    "The image has more than one mask of the same class.",
                    "Keep one mask for each image, or one for each class of it, and import again.",
                )
            regions |= drawn
        return regions


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands in for a mask that is there and cannot be used, so that its image is not taken for unmasked."""

    message: str
    hint: str

    def __call__(self, _shape: tuple[int, int]) -> Regions:
        raise MaskError(self.message, self.hint)


def digest_of(labels_HW: Labels) -> str:
    """SHA-256 of what a label map shows, hex: by which a model's draft is known again in any form."""
    return hashlib.sha256(repr(labels_HW.shape).encode() + shown(labels_HW).tobytes()).hexdigest()


def stem(name: str) -> str:
    """A file's name without folders and ending; a UID keeps its dots.

    Files of other systems name folders with either kind of slash.
    """
    last = PureWindowsPath(name).name
    ending = next((ending for ending in ENDINGS if last.lower().endswith(ending)), "")
    return last[: len(last) - len(ending)]


def check_size(size: tuple[int, int], shape: tuple[int, int]) -> None:
    """Compare a mask's rows and columns with its image's; raises MaskError."""
    if size != shape:  # 1.
        raise MaskError(
            "The mask and its image have different sizes.", "Export the mask at the image's full size."
        )


def malformed(form: str) -> MaskError:
    """The error for a mask that is not written as its form demands."""
    return MaskError(f"A mask in the form {form} is malformed or damaged.", "Export the mask again.")
