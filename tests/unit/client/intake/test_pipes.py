"""No reader opens what is no regular file: a pipe would keep it waiting for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.masks.json_text import read_bytes
from client.intake.masks.label_map import read_values_table
from client.intake.masks.segmentation import read_segmentation
from client.intake.nifti import is_nifti, read_nifti
from client.intake.picture import is_picture, read_picture, read_values
from shared.errors import IntakeError

READERS: dict[str, Callable[[Path], object]] = {
    one.__name__: one
    for one in (
        is_dicom,
        read_header,
        read_mammogram,
        is_picture,
        read_picture,
        read_values,
        is_nifti,
        read_nifti,
        read_segmentation,
        read_values_table,
    )
} | {"read_bytes": lambda path: read_bytes(path, "LabelMe")}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "image"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(IntakeError, match="cannot be read"):
        READERS[reader](path)
