"""The site's catalog: prepared examples with their masks, their split, and what may be counted about them.

Everything in it is pseudonymous. An example's arrays are one sealed record in a shard file; the row that
names the record is committed once its bytes are on the disk, so an import that is killed keeps every example
that it had finished, and no other.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from client.holdings import (
    Counts,
    KnownExample,
    MaskOrigin,
    Provenance,
    Verification,
    band_of,
    read_geometry,
    spacing_of,
)
from client.home import STORE_FILE
from client.imaging.example import Example, Label, shown
from client.imaging.mammogram import Spacing
from client.imaging.preparation import Geometry
from client.incoming import remove_unpacked
from client.intake.exclusions import QUARANTINED
from client.intake.pseudonyms import Pseudonyms
from client.store import counting
from client.store import examples as statements
from client.store.audit import AuditLog, append
from client.store.clinic import ClinicQueue
from client.store.clinical import Clinical
from client.store.drafts import Drafts
from client.store.examples import ExampleRow, Removal
from client.store.keeping import Keeping
from client.store.opening import open_site_store
from client.store.parts import Part
from client.store.records import EXAMPLES_FOLDER
from client.store.shards import Place
from shared.errors import NotFoundError, StoreError
from shared.files import hold_folder, make_private_folder
from shared.store import clear_journal, transaction

__all__ = ["STORE_FILE", "Catalog", "Counts", "MaskOrigin", "Part", "Provenance", "Removal"]


class Catalog:
    """The catalog of one home folder, with the site's audit log. Open with `open`, close when done."""

    def __init__(self, engine: Engine, home: Path, *, encrypted: bool = True) -> None:
        self.home = home
        self.log = AuditLog(engine)
        self._engine = engine
        self.drafts = Drafts(engine)
        self.clinic = ClinicQueue(engine)
        self.clinical = Clinical(engine)
        self._records = Keeping(engine, home, encrypted=encrypted)

    @classmethod
    def open(cls, home: Path, *, encrypted: bool = True) -> Catalog:
        """Open the catalog of a home folder, making it at first use.

        Parameters
        ----------
        encrypted
            Seal new examples; both kinds can be read.

        Raises
        ------
        HomeError
            The home is not a folder that can be written.
        StoreError
            The database cannot be opened or migrated, or is missing beside what it describes.
        TrustError
            The key of the examples is missing or unreadable.
        """
        engine = open_site_store(home)
        make_private_folder(home / EXAMPLES_FOLDER)
        return cls(engine, home, encrypted=encrypted)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- coming in

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Hold the catalog for one change, and first remove what a killed one left.

        Raises
        ------
        BusyError
            Another change is going on.
        StoreError
            The database or the disk refuses.
        """
        with hold_folder(
            self.home / EXAMPLES_FOLDER,
            "Another import, removal or change of this site's data is running.",
            "Wait until it has ended, then try again.",
        ):
            remove_unpacked(self.home)
            self._records.clear_up()
            yield

    def pseudonyms(self) -> Pseudonyms:
        """The site's pseudonyms; their key is made at first use.

        Raises
        ------
        HomeError
            The key is unreadable, or missing though somebody has a pseudonym.
        StoreError
            The database refuses, or the key cannot be written.
        """
        with transaction(self._engine) as connection:
            anybody = statements.names_anybody(connection)
        return Pseudonyms.open(self.home, may_make=not anybody)

    def find_source(self, source: str) -> KnownExample | None:
        """The example of the instance or file with this keyed hash."""
        with transaction(self._engine) as connection:
            row = statements.find_example(connection, "source", source)
        return None if row is None else KnownExample.of(row)

    def has_content(self, content: str) -> bool:
        """Whether a picture of this keyed hash is here already."""
        with transaction(self._engine) as connection:
            return statements.find_example(connection, "content", content) is not None

    def is_withdrawn(self, patient: str) -> bool:
        """Whether a patient's examples were removed for good."""
        with transaction(self._engine) as connection:
            return statements.is_withdrawn(connection, patient)

    def is_decided(self, source: str) -> bool:
        """Whether the image with this keyed hash needs not be fetched again.

        It is here, with a mask or waiting for one that a reader draws; or it was left out by choice. What was
        broken may have been mended.
        """
        if self.find_source(source) is not None:
            return True
        with transaction(self._engine) as connection:
            reason = statements.reason_against(connection, source)
        return reason is not None and reason not in {broken.value for broken in QUARANTINED}

    def add(self, example: Example, provenance: Provenance, mask: MaskOrigin | None) -> Part:
        """Add an example; its patient's part is assigned now if the patient is new.

        Raises
        ------
        StoreError
            The disk or the database refuses, or an example of the same source or content is already here;
            nothing but bytes without a name is left behind.
        """
        assert (example.labels_HW is None) == (mask is None)
        place, columns = self._store(example)
        now = time.time()
        row = ExampleRow(
            example_id=example.example_id,
            height=example.image_HW.shape[0],
            width=example.image_HW.shape[1],
            added_at=now,
            **provenance.columns(),
            **columns,
        )
        with transaction(self._engine) as connection:
            part = statements.part_of(connection, provenance.patient)
            statements.insert_example(connection, row)
            statements.call_off_erasure(connection, place)
            if mask is not None and example.labels_HW is not None:
                statements.insert_mask(connection, row.example_id, mask.line(example.labels_HW, at=now))
        return part

    def set_mask(self, example_id: str, labels_HW: npt.NDArray[np.uint8], origin: MaskOrigin) -> None:
        """Give an example a mask, or a newer one; the line about an older one stays, its pixels do not.

        Raises
        ------
        NotFoundError
            There is no example of that id.
        StoreError
            See `add`.
        """
        row = self._row(example_id)
        example = Example(example_id=example_id, image_HW=self.load(example_id).image_HW, labels_HW=labels_HW)
        place, changes = self._store(example)
        with transaction(self._engine) as connection:
            statements.update_example(connection, example_id, changes)
            statements.call_off_erasure(connection, place)
            statements.insert_mask(connection, example_id, origin.line(labels_HW, at=time.time()))
            statements.order_erasure(connection, [row.place])
        self._records.clear_up()

    def complete(self, example_id: str, year: int | None, density: str | None) -> bool:
        """Fill in what was not known of an example before; returns whether anything was new."""
        with transaction(self._engine) as connection:
            return statements.fill_in(connection, example_id, {"year": year, "density": density})

    def note_refusals(self, refusals: Sequence[tuple[str, str]]) -> None:
        """Note the reason codes of images that were left out, by the keyed hash of their source."""
        with transaction(self._engine) as connection:
            for source, reason in refusals:
                statements.decide(connection, source, reason, time.time())

    # -- looking

    def examples(self, part: Part, *, categorised: bool = False) -> list[str]:
        """Ids of the labelled examples of a part, in the order in which they came in.

        With `categorised` also of those that have no mask and a reader's category.
        """
        with transaction(self._engine) as connection:
            return statements.example_ids(connection, part, categorised=categorised)

    def patients(self, part: Part, *, categorised: bool = False) -> dict[str, str]:
        """Whose each of `examples` is: pseudonyms by example id."""
        with transaction(self._engine) as connection:
            return statements.patients_of(connection, part, categorised=categorised)

    def unlabelled(self) -> list[str]:
        """Ids of the examples that wait for a mask, in the order in which they came in."""
        with transaction(self._engine) as connection:
            return statements.example_ids(connection, labelled=False)

    def load(self, example_id: str) -> Example:
        """Read an example and check that nothing of it has changed.

        Raises
        ------
        NotFoundError
            There is no example of that id.
        StoreError
            Its record is missing or damaged.
        """
        row, content = self._content(example_id)
        shape = (row.height, row.width)
        image_HW = np.frombuffer(content, "<u2", row.height * row.width).reshape(shape)
        labels_HW = None
        if row.has_mask:
            labels_HW = np.frombuffer(content, np.uint8, offset=image_HW.nbytes).reshape(shape)
        return Example(
            example_id=example_id,
            image_HW=image_HW,
            labels_HW=labels_HW,
            spacing=spacing_of(row),
            density=band_of(row),
        )

    def labels(self) -> tuple[int, int]:
        """Two numbers, of which one grows with every mask or category that comes in."""
        with transaction(self._engine) as connection:
            return statements.count_labels(connection)

    def geometry(self, example_id: str) -> Geometry:
        """How an example's picture lies in its source. Raises NotFoundError."""
        return read_geometry(self._row(example_id).geometry)

    def spacing(self, example_id: str) -> Spacing | None:
        """Pixel spacing of an example's picture, if it is known. Raises NotFoundError."""
        return spacing_of(self._row(example_id))

    def counts(self) -> Counts:
        """Count the examples."""
        with transaction(self._engine) as connection:
            return counting.count(connection)

    def exclusions(self) -> dict[str, int]:
        """Number of images that imports have left out and that are not here by now, by reason code."""
        with transaction(self._engine) as connection:
            return statements.count_decisions(connection)

    def verify(self, progress: Callable[[int, int], None]) -> Verification:
        """Read every example back; a record in which a bit has changed is damaged."""
        with transaction(self._engine) as connection:
            rows = statements.all_examples(connection)
        damaged = []
        for done, row in enumerate(rows, start=1):
            try:
                self._content(row.example_id)
            except NotFoundError:  # removed since it was listed
                pass
            except StoreError:
                damaged.append(row.example_id)
            progress(done, len(rows))
        return Verification(checked=len(rows), damaged=tuple(damaged))

    # -- use and withdrawal

    def note_use(self, run_id: str, part: Part, *, categorised: bool = False) -> None:
        """Note that a run learns from the labelled examples of a part, before it does; see `examples`."""
        with transaction(self._engine) as connection:
            statements.note_use(connection, run_id, part, time.time(), categorised=categorised)

    def remove_patient(self, patient: str, *, actor: str) -> Removal:
        """Take a patient's examples out for good; to be called within `importing`.

        Raises
        ------
        StoreError
            The database or the disk refuses.
        """
        return self._remove(patient, actor=actor)

    def forget_all(self, *, actor: str) -> Removal:
        """Take every example and patient out; whoever comes in later is new. Called within `importing`.

        Raises
        ------
        StoreError
            The database or the disk refuses.
        """
        return self._remove(None, actor=actor)

    def removals(self) -> list[Removal]:
        """What was taken out, oldest first."""
        with transaction(self._engine) as connection:
            return statements.all_removals(connection)

    def _remove(self, patient: str | None, *, actor: str) -> Removal:
        with transaction(self._engine) as connection:
            rows = statements.all_examples(connection, patient)
            removal = Removal(
                at=time.time(),
                patients=len({row.patient for row in rows}),
                examples=len(rows),
                runs=tuple(statements.runs_with(connection, patient)),
            )
            if patient is None or not statements.is_withdrawn(connection, patient):
                statements.delete_examples(connection, patient, removal)
                statements.order_erasure(connection, [row.place for row in rows])
            event = removal.told("forget" if patient is None else "withdrawal")
            append(connection, event, actor=actor, at=removal.at)
        self._records.clear_up()
        clear_journal(self._engine)
        return removal

    # -- records

    def _store(self, example: Example) -> tuple[Place, dict[str, Any]]:
        """Write an example's record; its place, and the columns that say where it lies and what it holds."""
        content = np.ascontiguousarray(example.image_HW, "<u2").tobytes()
        pixels: list[int | None] = [None] * len(Label)
        if example.labels_HW is not None:
            assert example.labels_HW.shape == example.image_HW.shape
            content += np.ascontiguousarray(example.labels_HW, np.uint8).tobytes()
            pixels = np.bincount(shown(example.labels_HW).ravel(), minlength=len(Label)).tolist()
        place, sha256 = self._records.write(example.example_id, content)
        return place, {
            **asdict(place),
            "sha256": sha256,
            "adipose_px": pixels[Label.ADIPOSE],
            "dense_px": pixels[Label.DENSE],
            "pectoral_px": pixels[Label.PECTORAL],
        }

    def _content(self, example_id: str) -> tuple[ExampleRow, bytes]:
        """An example's row and record; one that another process moves meanwhile is looked for again."""
        row = self._row(example_id)
        while True:
            try:
                return row, self._records.read(row.place, row.sha256, example_id)
            except StoreError:
                known, row = row, self._row(example_id)
                if row.place == known.place:
                    raise

    def _row(self, example_id: str) -> ExampleRow:
        with transaction(self._engine) as connection:
            row = statements.find_example(connection, "example_id", example_id)
        if row is None:
            raise NotFoundError("The catalog has no example of that id.", "List the examples again.")
        return row


def new_example_id() -> str:
    """A random example id."""
    return secrets.token_hex(16)
