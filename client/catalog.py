"""The site's catalog: prepared examples, their split, and what may be counted about them.

Everything in it is pseudonymous. Arrays lie in one file per example; the row that names a file is committed
together with it, so an import that is killed keeps every example that it had finished, and no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sqlalchemy import Engine

from client.imaging.example import Example, Label
from client.imaging.mammogram import Laterality, Spacing, View
from client.store import examples as statements
from client.store.parts import Part
from shared.errors import HomeError, NotFoundError, StoreError
from shared.files import PRIVATE_FOLDER, hold_folder, write_file
from shared.store import open_store, sqlite_url, transaction

__all__ = ["Catalog", "Counts", "Part", "Provenance"]

STORE_FILE = "site.db"
EXAMPLES_FOLDER = "examples"
LOCK_FILE = ".lock"
MIGRATIONS = Path(__file__).parent / "store" / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the catalog keeps about the origin of an example.

    Attributes
    ----------
    patient
        Keyed pseudonym of the patient.
    source
        Keyed hash of the instance or file, by which a second import of it is noticed.
    spacing
        Of the prepared picture.
    manufacturer
        Name from the closed list of the intake.
    """

    patient: str
    source: str
    spacing: Spacing | None = None
    view: View | None = None
    laterality: Laterality | None = None
    manufacturer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of examples, in all and by property; a property that no file told is under "unknown"."""

    examples: int
    patients: int
    by_part: Mapping[Part, int]
    patients_by_part: Mapping[Part, int]
    by_manufacturer: Mapping[str, int]
    by_view: Mapping[str, int]
    by_laterality: Mapping[str, int]


class Catalog:
    """The catalog of one home folder. Open with `open`, close when done."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.home = home
        self._engine = engine
        self._folder = home / EXAMPLES_FOLDER

    @classmethod
    def open(cls, home: Path) -> Catalog:
        """Open the catalog of a home folder, making it at first use.

        Raises
        ------
        HomeError
            The home is not a folder that can be written.
        StoreError
            The database cannot be opened or migrated.
        """
        try:
            (home / EXAMPLES_FOLDER).mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        except OSError as error:
            raise HomeError(
                "The home is not a folder that can be written.",
                "Name another home or correct its permissions.",
            ) from error
        return cls(open_store(sqlite_url(home / STORE_FILE), MIGRATIONS), home)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, source: str) -> bool:
        """Whether the instance or file of this keyed hash is already here."""
        with transaction(self._engine) as connection:
            return statements.has_source(connection, source)

    def add(self, example: Example, provenance: Provenance) -> Part:
        """Add an example; its patient's part is assigned now if the patient is new.

        Raises
        ------
        StoreError
            The disk or the database refuses, or an example of the same source is already here; nothing is
            left behind.
        """
        data = save({"image": example.image_HW, "labels": example.labels_HW})
        file = self._file(example.example_id)
        try:
            with transaction(self._engine) as connection:
                part = statements.part_of(connection, provenance.patient)
                statements.insert_example(connection, _row(example, provenance, data))
                write_file(file, data)
        except StoreError:
            file.unlink(missing_ok=True)
            raise
        return part

    def examples(self, part: Part) -> list[str]:
        """Ids of the examples of a part, in the order in which they came in."""
        with transaction(self._engine) as connection:
            return statements.example_ids(connection, part)

    def load(self, example_id: str) -> Example:
        """Read an example and check it against its digest.

        Raises
        ------
        NotFoundError
            There is no example of that id.
        StoreError
            Its file is missing or damaged.
        """
        with transaction(self._engine) as connection:
            row = statements.find_example(connection, example_id)
        if row is None:
            raise NotFoundError("The catalog has no example of that id.", "List the examples again.")
        try:
            data = self._file(example_id).read_bytes()
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise _damaged()
            arrays = load(data)
        except (OSError, SafetensorError) as error:
            raise _damaged() from error
        return Example(example_id=example_id, image_HW=arrays["image"], labels_HW=arrays["labels"])

    def counts(self) -> Counts:
        """Count the examples."""
        with transaction(self._engine) as connection:
            patients = statements.count_patients(connection)
            parts = statements.count_examples(connection, "part")
            manufacturers = statements.count_examples(connection, "manufacturer")
            views = statements.count_examples(connection, "view")
            lateralities = statements.count_examples(connection, "laterality")
        return Counts(
            examples=sum(parts.values()),
            patients=sum(patients.values()),
            by_part={part: parts.get(part.value, 0) for part in Part},
            patients_by_part=patients,
            by_manufacturer=_named(manufacturers),
            by_view=_named(views),
            by_laterality=_named(lateralities),
        )

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Hold the catalog for one import, and first remove the files that a killed one left without a row.

        Raises
        ------
        HomeError
            Another import is running.
        """
        with hold_folder(self._folder):
            with transaction(self._engine) as connection:
                known = {self._file(example_id).name for example_id in statements.example_ids(connection)}
            for file in self._folder.iterdir():
                if file.name not in known and file.name != LOCK_FILE:
                    file.unlink(missing_ok=True)
            yield

    def _file(self, example_id: str) -> Path:
        return self._folder / f"{example_id}.safetensors"


def new_example_id() -> str:
    """A random example id."""
    return secrets.token_hex(16)


def _row(example: Example, provenance: Provenance, data: bytes) -> statements.ExampleRow:
    height, width = example.image_HW.shape
    pixels = np.bincount(example.labels_HW.ravel(), minlength=len(Label))
    spacing = provenance.spacing
    return statements.ExampleRow(
        example_id=example.example_id,
        patient=provenance.patient,
        source=provenance.source,
        sha256=hashlib.sha256(data).hexdigest(),
        height=height,
        width=width,
        row_mm=None if spacing is None else spacing.row_mm,
        column_mm=None if spacing is None else spacing.column_mm,
        view=provenance.view,
        laterality=provenance.laterality,
        manufacturer=provenance.manufacturer,
        adipose_px=int(pixels[Label.ADIPOSE]),
        dense_px=int(pixels[Label.DENSE]),
        pectoral_px=int(pixels[Label.PECTORAL]),
        added_at=time.time(),
    )


def _named(counts: Mapping[str | None, int]) -> dict[str, int]:
    return {
        name or "unknown": count for name, count in sorted(counts.items(), key=lambda item: item[0] or "~")
    }


def _damaged() -> StoreError:
    return StoreError(
        "An example in the catalog is missing or damaged.",
        "Check the disk, then import the source folder again into a new home.",
    )
