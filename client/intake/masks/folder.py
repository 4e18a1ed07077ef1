"""The masks of a folder, by the image that each belongs to.

A file's ending tells its form: `.png`, `.tif`, `.tiff`, `.nii` and `.nii.gz` are label maps, whose values a
`values.toml` declares in the same folder or the nearest one above it, unless a JSON file names them as the
picture that was drawn on; `.json` is LabelMe or COCO; anything else that begins as DICOM does is a
Segmentation object. Several masks of one image are one if each shows other classes. Two of the same class are
refused: nobody could tell which one was trained on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import NoReturn

from pydantic import Field

from client.intake.dicom_file import is_dicom
from client.intake.exclusions import Reason, refusal
from client.intake.masks.coco import KIND as COCO
from client.intake.masks.coco import read_coco
from client.intake.masks.json_text import Written, parse, read_bytes
from client.intake.masks.label_map import VALUES_FILE, LabelMap, read_values_table
from client.intake.masks.labelme import KIND as LABELME
from client.intake.masks.labelme import LabelMe, key_of
from client.intake.masks.layers import Layer
from client.intake.masks.mask_file import Joined, MaskFile, Refused, stem
from client.intake.masks.segmentation import read_segmentation
from shared.errors import IntakeError

LABEL_MAPS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".nii": "nifti", ".nii.gz": "nifti"}


@dataclass(frozen=True, slots=True)
class Masks(Mapping[str, MaskFile]):
    """Masks by their key, in a fixed order."""

    _by_key: Mapping[str, MaskFile] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[MaskFile]) -> Masks:
        """Sort masks by key; where several have one, they are joined.

        What a program alone has drawn gives way to what a reader has.
        """
        by_key: dict[str, list[MaskFile]] = {}
        for file in files:
            by_key.setdefault(file.key, []).append(file)
        return cls({key: _joined(by_key[key]) for key in sorted(by_key)})

    def __getitem__(self, key: str) -> MaskFile:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def drawn_by_reader(self, key: str) -> MaskFile | None:
        """The mask of an image, unless a program alone has drawn it."""
        mask = self.get(key)
        return None if mask is None or mask.by_model else mask

    def with_segmentations(self, paths: Mapping[int, Path]) -> Masks:
        """These masks and those of Segmentation objects among the images, by their position there.

        A copy of an object counts once.
        """
        found = [replace(one, among_images=True) for one in _segmentations(paths)]
        return Masks.of([*self.values(), *found])


def _joined(files: list[MaskFile]) -> MaskFile:
    """All masks of one image as one, as far as readers have drawn them, or else as programs have."""
    chosen = [file for file in files if not file.by_model] or files
    first, *others = chosen
    if not others:
        return first
    return replace(first, draw=Joined(tuple(file.draw for file in chosen)))


def open_masks(folder: Path) -> Masks:
    """Look through a folder and all below it; no masks if there is no such folder.

    Raises
    ------
    IntakeError
        A folder cannot be read.
    MaskError
        There are label maps, and a table of values is missing; or a table is malformed.
    """
    if not folder.is_dir():
        return Masks()
    tables: dict[Path, dict[int, Layer]] = {}
    label_maps: dict[int, Path] = {}
    masks: list[MaskFile] = []
    pictures: set[Path] = set()
    segmentations: dict[int, Path] = {}
    for position, path in enumerate(list_files(folder), start=1):
        if path.name == VALUES_FILE:
            tables[path.parent] = read_values_table(path)
        elif _label_map_kind(path) is not None:
            label_maps[position] = path
        elif _is_json(path):
            found = _in_json(path)
            masks += _at(position, found.masks)
            pictures |= found.pictures
        elif _is_dicom(path):
            segmentations[position] = path
    for position, path in label_maps.items():
        # LabelMe keeps the picture that was drawn on beside its file.
        if _plain(path) not in pictures:
            table = next((tables[parent] for parent in path.parents if parent in tables), None)
            masks += _at(position, masks_in(path, table))
    return Masks.of([*masks, *_segmentations(segmentations)])


def list_files(folder: Path) -> list[Path]:
    """All that may hold a mask, in a fixed order, in which reports number them from 1.

    Raises
    ------
    IntakeError
        A folder cannot be read.
    """
    found: list[Path] = []
    for parent, _, names in os.walk(folder, onerror=_unreadable):
        # A hidden file is some system's note on another one.
        found += [Path(parent) / name for name in names if not name.startswith(".")]
    # What is no regular file may hang its reader.
    return sorted(path for path in found if path.is_file())


def name_at(folder: Path, position: int) -> str | None:
    """Name, within the folder, of the file at a position; None if there is none.

    For the person at the terminal alone: a name may name a patient.

    Raises
    ------
    IntakeError
        As `list_files`.
    """
    files = list_files(folder)
    if not 0 < position <= len(files):
        return None
    return os.fsencode(files[position - 1].relative_to(folder)).decode("utf-8", "replace")


def _at(position: int, masks: Iterable[MaskFile]) -> list[MaskFile]:
    return [replace(mask, position=position) for mask in masks]


def masks_in(path: Path, table: Mapping[int, Layer] | None) -> list[MaskFile]:
    """The masks in one file; a damaged one stands for a mask that is refused, under the file's own name.

    Parameters
    ----------
    table
        Classes by pixel value, for a label map.

    Raises
    ------
    MaskError
        It is a label map and there is no table.
    """
    kind = _label_map_kind(path)
    if kind is not None:
        # Without a table this says so.
        values = read_values_table(path.parent / VALUES_FILE) if table is None else table
        return [MaskFile(key=stem(path.name), kind=kind, draw=LabelMap(path, values))]
    return list(_in_json(path).masks) if _is_json(path) else _segmentations({0: path})


class _Outline(Written):
    """Enough of a JSON file to tell its form."""

    shapes: object = None
    image_path: str = Field(alias="imagePath", default="")
    annotations: object = None


@dataclass(frozen=True, slots=True)
class _InJson:
    masks: tuple[MaskFile, ...]
    pictures: frozenset[Path] = frozenset()


def _in_json(path: Path) -> _InJson:
    """Masks in a JSON file, and where the pictures lie that they were drawn on."""
    try:
        content = read_bytes(path, "JSON")
        outline = parse(_Outline, content, "JSON")
    except IntakeError as error:
        return _InJson((_refused(path, "json", error),))
    if outline.shapes is not None:
        mask = MaskFile(key=key_of(path, outline.image_path), kind=LABELME, draw=LabelMe(path))
        return _InJson((mask,), frozenset({_beside(path, outline.image_path)}))
    if outline.annotations is not None:
        try:
            masks, names = read_coco(content)
        except IntakeError as error:
            return _InJson((_refused(path, COCO, error),))
        return _InJson(tuple(masks), frozenset(_beside(path, name) for name in names))
    return _InJson(())


def _beside(path: Path, name: str) -> Path:
    """Where a file lies that another one names, with either kind of slash."""
    return _plain(path.parent / PureWindowsPath(name).as_posix())


def _plain(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _segmentations(paths: Mapping[int, Path]) -> list[MaskFile]:
    """Masks of Segmentation objects, by their position."""
    seen: set[str] = set()
    masks: list[MaskFile] = []
    for position, path in paths.items():
        try:
            found = read_segmentation(path)
        except IntakeError as error:
            masks += _at(position, [_refused(path, "dicom", error)])
            continue
        if found.instance_uid not in seen:
            seen.add(found.instance_uid)
            masks += _at(position, found.masks)
    return masks


def _unreadable(error: OSError) -> NoReturn:
    raise refusal(Reason.UNREADABLE) from error


def _refused(path: Path, kind: str, error: IntakeError) -> MaskFile:
    return MaskFile(key=stem(path.name), kind=kind, draw=Refused(error.message, error.hint))


def _label_map_kind(path: Path) -> str | None:
    name = path.name.lower()
    return next((kind for ending, kind in LABEL_MAPS.items() if name.endswith(ending)), None)


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except IntakeError:
        return False
