"""What the catalog holds of an example besides its arrays, and what may be counted about all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from client.imaging.example import Drawn
from client.imaging.mammogram import Laterality, Spacing, View
from client.imaging.preparation import Geometry
from client.store.examples import ExampleRow
from client.store.parts import Part
from shared.bands import BANDS, Band


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the catalog keeps about the origin of an example.

    Attributes
    ----------
    patient
        Keyed pseudonym of the patient.
    source
        Keyed hash of the instance or file, by which a second import of it is noticed.
    content
        Keyed hash of the prepared picture, by which another file of the same mammogram is noticed.
    geometry
        How the prepared picture lies in its source.
    spacing
        Of the prepared picture.
    manufacturer
        Name from the closed list of the intake.
    year
        Of the acquisition.
    density
        A reader's category, a to d.
    mirrored
        The header claims the chest wall at the other edge.
    """

    patient: str
    source: str
    content: str
    geometry: Geometry
    spacing: Spacing | None = None
    view: View | None = None
    laterality: Laterality | None = None
    manufacturer: str | None = None
    year: int | None = None
    density: str | None = None
    mirrored: bool = False

    def columns(self) -> dict[str, Any]:
        """As the store keeps it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        spacing: Spacing | None = values.pop("spacing")
        return {
            **values,
            "geometry": write_geometry(self.geometry),
            "row_mm": None if spacing is None else spacing.row_mm,
            "column_mm": None if spacing is None else spacing.column_mm,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOrigin:
    """Where a mask comes from.

    Attributes
    ----------
    kind
        Form in which it came, such as `png` or `seg`.
    annotator, version
        In the words of the person who brought it.
    drawn_on
        ISO 8601 date.
    """

    kind: str
    annotator: str | None = None
    drawn_on: str | None = None
    version: str | None = None

    def line(self, labels_HW: npt.NDArray[np.uint8], *, at: float) -> dict[str, object]:
        """What the store notes of this mask, which came in at that time."""
        return {**asdict(self), "drawn": Drawn.on(labels_HW).names, "added_at": at}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownExample:
    """An example as the intake must know it.

    Attributes
    ----------
    content
        Keyed hash of its picture.
    geometry
        How its picture lies in its source.
    """

    example_id: str
    has_mask: bool
    content: str
    geometry: Geometry
    view: View | None

    @classmethod
    def of(cls, row: ExampleRow) -> KnownExample:
        """As the store knows it."""
        return cls(
            example_id=row.example_id,
            has_mask=row.has_mask,
            content=row.content,
            geometry=read_geometry(row.geometry),
            view=None if row.view is None else View(row.view),
        )


def band_of(row: ExampleRow) -> Band | None:
    """The reader's category, if it is known."""
    return next((band for band in BANDS if band == row.density), None)


def spacing_of(row: ExampleRow) -> Spacing | None:
    """Of an example's prepared picture, if it is known."""
    if row.row_mm is None or row.column_mm is None:
        return None
    return Spacing(row_mm=row.row_mm, column_mm=row.column_mm)


def write_geometry(geometry: Geometry) -> str:
    """As JSON, for the store."""
    return json.dumps(asdict(geometry))


def read_geometry(text: str) -> Geometry:
    """From the store's JSON."""
    values: dict[str, Any] = json.loads(text)
    return Geometry(
        source_shape=(values["source_shape"][0], values["source_shape"][1]),
        mirrored=values["mirrored"],
        box=(values["box"][0], values["box"][1], values["box"][2], values["box"][3]),
        prepared_shape=(values["prepared_shape"][0], values["prepared_shape"][1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of examples, in all and by property; a property that no file told is under "unknown".

    Attributes
    ----------
    labelled
        Examples with a mask: those that are trained and measured on.
    by_part
        Of labelled examples.
    categories_by_part
        Of those that have a reader's category and no mask.
    by_mask
        Of labelled examples, by the segments that their masks show whole.
    """

    examples: int
    labelled: int
    patients: int
    by_part: Mapping[Part, int]
    categories_by_part: Mapping[Part, int]
    patients_by_part: Mapping[Part, int]
    by_manufacturer: Mapping[str, int]
    by_view: Mapping[str, int]
    by_laterality: Mapping[str, int]
    by_year: Mapping[str, int]
    by_density: Mapping[str, int]
    by_mask: Mapping[Drawn, int]

    @property
    def unlabelled(self) -> int:
        """Examples that wait for a mask."""
        return self.examples - self.labelled

    def usable(self, part: Part, *, categorised: bool) -> int:
        """Labelled examples of a part; with `categorised` also those that have a category alone."""
        return self.by_part[part] + (self.categories_by_part[part] if categorised else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What reading every example back has shown.

    Attributes
    ----------
    damaged
        Ids of examples that cannot be used.
    """

    checked: int
    damaged: tuple[str, ...]
