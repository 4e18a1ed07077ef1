"""Masks in every usual form: label maps, LabelMe and COCO outlines, DICOM Segmentation objects.

Checks, numbered where they happen: 1. the size is the image's; 2. every value or class is declared; 3. what a
mask must hold is there; 4. regions that exclude each other do not overlap; 5. the breast of the mask lies on
the breast of the image, and on it as it is rather than mirrored or upside down.
"""

from client.intake.masks.breast_overlap import check_overlap
from client.intake.masks.folder import Masks, masks_in, name_at, open_masks
from client.intake.masks.label_map import VALUES_FILE, read_values_table
from client.intake.masks.mask_file import MaskFile, digest_of
from client.intake.masks.settling import settle

__all__ = [
    "VALUES_FILE",
    "MaskFile",
    "Masks",
    "check_overlap",
    "digest_of",
    "masks_in",
    "name_at",
    "open_masks",
    "read_values_table",
    "settle",
]
