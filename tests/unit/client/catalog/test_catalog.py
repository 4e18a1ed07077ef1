"""The catalog keeps what was finished, exactly, and nothing that names a person."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import inspect

from client.catalog import Catalog, MaskOrigin, Part, Provenance, new_example_id
from client.home import STORE_FILE
from client.imaging.example import Drawn, Example, Label
from client.imaging.mammogram import Laterality, Spacing, View
from client.imaging.preparation import Geometry
from client.intake.pseudonyms import KEY_FILE as PSEUDONYM_KEY_FILE
from client.store import examples as statements
from client.store import shards
from client.store.opening import MIGRATIONS
from client.store.records import EXAMPLES_FOLDER, KEY_FILE, Records
from client.store.schema import metadata
from shared.errors import HomeError, NotFoundError, StoreError, TrustError
from shared.store import open_store, sqlite_url
from tests.full_disk import disk_that_holds


def make_example(seed: int = 0, shape: tuple[int, int] = (30, 20)) -> Example:
    rng = np.random.default_rng(seed)
    return Example(
        example_id=new_example_id(),
        image_HW=rng.integers(0, 65536, shape).astype(np.uint16),
        labels_HW=rng.integers(0, 4, shape).astype(np.uint8),
    )


DRAWN = MaskOrigin(kind="png", annotator="reader-1", drawn_on="2024-05-17", version="1")
GEOMETRY = Geometry(source_shape=(60, 40), mirrored=True, box=(0, 0, 60, 40), prepared_shape=(30, 20))
SECRET_GREY = 0xABCD
LARGE = (1000, 800)
"""An example larger than the database and its journal."""


def provenance(patient: str = "p1", source: str = "s1") -> Provenance:
    return Provenance(
        patient=patient,
        source=source,
        content=f"content of {source}",
        geometry=GEOMETRY,
        spacing=Spacing(row_mm=0.2, column_mm=0.3),
        view=View.MLO,
        laterality=Laterality.RIGHT,
        manufacturer="ge",
    )


def shard(home: Path) -> Path:
    """The first file of examples."""
    return home / EXAMPLES_FOLDER / "00001.shard"


def test_an_example_comes_back_bit_for_bit(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        part = catalog.add(example, provenance(), DRAWN)
    with Catalog.open(tmp_path) as catalog:
        assert catalog.examples(part) == [example.example_id]
        loaded = catalog.load(example.example_id)
    assert loaded.image_HW.dtype == np.uint16
    assert (loaded.image_HW == example.image_HW).all()
    assert (loaded.labels_HW == example.labels_HW).all()
    assert loaded.spacing == Spacing(row_mm=0.2, column_mm=0.3)


def test_all_images_of_a_patient_are_in_one_part(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        parts = {
            (patient, catalog.add(make_example(), provenance(f"p{patient}", f"s{patient}-{image}"), DRAWN))
            for image in range(4)
            for patient in range(6)
        }
    assert len(parts) == 6


def test_examples_are_listed_in_the_order_of_arrival(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        ids = []
        for number in range(12):
            example = make_example(number)
            catalog.add(example, provenance("p1", f"s{number}"), DRAWN)
            ids.append(example.example_id)
        assert catalog.examples(Part.TRAIN) == ids


def test_the_same_source_is_not_added_twice_and_its_bytes_go(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(1), provenance(), DRAWN)
        size = shard(tmp_path).stat().st_size
        with pytest.raises(StoreError):
            catalog.add(make_example(2), provenance(), DRAWN)
        assert catalog.find_source("s1") is not None
        assert catalog.counts().examples == 1
        with catalog.importing():
            assert shard(tmp_path).stat().st_size == size


def test_a_disk_that_is_full_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(1, LARGE), provenance("p1", "s1"), DRAWN)
        size = shard(tmp_path).stat().st_size
        with disk_that_holds(size + 100), pytest.raises(StoreError, match="cannot be written"):
            catalog.add(make_example(2, LARGE), provenance("p2", "s2"), DRAWN)
        assert shard(tmp_path).stat().st_size == size
        assert catalog.find_source("s2") is None
        counts = catalog.counts()
    assert (counts.examples, counts.patients) == (1, 1)


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_flipped_bit_anywhere_in_a_stored_example_is_noticed(tmp_path: Path, encrypted: bool) -> None:
    example = make_example()
    with Catalog.open(tmp_path, encrypted=encrypted) as catalog:
        catalog.add(make_example(1), provenance("p1", "s1"), DRAWN)
        start = shard(tmp_path).stat().st_size
        catalog.add(example, provenance("p2", "s2"), DRAWN)
        whole = shard(tmp_path).read_bytes()
        for position in [*range(start, len(whole), 97), len(whole) - 1]:
            damaged = bytearray(whole)
            damaged[position] ^= 1
            shard(tmp_path).write_bytes(damaged)
            with pytest.raises(StoreError, match="damaged"):
                catalog.load(example.example_id)
            assert catalog.verify(lambda _done, _all: None).damaged == (example.example_id,)


def test_examples_are_ciphertext_on_the_disk_unless_the_volume_does_it(tmp_path: Path) -> None:
    grey_HW = np.full((30, 20), SECRET_GREY, np.uint16)
    example = Example(example_id=new_example_id(), image_HW=grey_HW, labels_HW=None)
    for encrypted in (True, False):
        home = tmp_path / str(encrypted)
        with Catalog.open(home, encrypted=encrypted) as catalog:
            catalog.add(example, provenance(), None)
            assert (catalog.load(example.example_id).image_HW == SECRET_GREY).all()
        assert (SECRET_GREY.to_bytes(2, "little") * 8 in shard(home).read_bytes()) is not encrypted
    assert (tmp_path / "True" / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_both_kinds_of_record_are_read_after_the_setting_was_changed(tmp_path: Path) -> None:
    examples = [make_example(number) for number in range(2)]
    for number, encrypted in enumerate((True, False)):
        with Catalog.open(tmp_path, encrypted=encrypted) as catalog:
            catalog.add(examples[number], provenance("p1", f"s{number}"), DRAWN)
    with Catalog.open(tmp_path) as catalog:
        for example in examples:
            assert (catalog.load(example.example_id).image_HW == example.image_HW).all()


def test_records_swapped_by_somebody_with_access_to_the_disk_are_noticed(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        ids = []
        for number in range(2):
            example = make_example(number)
            catalog.add(example, provenance("p1", f"s{number}"), DRAWN)
            ids.append(example.example_id)
        whole = shard(tmp_path).read_bytes()
        half = len(whole) // 2
        shard(tmp_path).write_bytes(whole[half:] + whole[:half])
        assert catalog.verify(lambda _done, _all: None).damaged == tuple(ids)


def test_a_key_of_another_home_opens_nothing(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance(), DRAWN)
    (tmp_path / KEY_FILE).write_bytes(bytes(32))
    with Catalog.open(tmp_path) as catalog, pytest.raises(StoreError, match="damaged"):
        catalog.load(example.example_id)


def test_a_lost_key_is_told_and_no_new_one_takes_its_place(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(), provenance(), DRAWN)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(TrustError, match="missing"):
        Catalog.open(tmp_path)
    assert not (tmp_path / KEY_FILE).exists()


def test_a_reader_outlives_a_shard_that_is_cut_off_under_it(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance(), DRAWN)
        loaded = catalog.load(example.example_id)
        shard(tmp_path).write_bytes(b"")
        assert (loaded.image_HW == example.image_HW).all()


def test_an_example_whose_record_moves_while_it_is_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = make_example()
    assert example.labels_HW is not None
    corrected_HW = 3 - example.labels_HW
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        catalog.add(example, provenance(), DRAWN)
        read, moved = Records.read, []

        def read_after_a_correction(records: Records, *where: Any) -> bytes:
            if not moved:
                moved.append(True)
                catalog.set_mask(example.example_id, corrected_HW, DRAWN)
            return read(records, *where)

        monkeypatch.setattr(Records, "read", read_after_a_correction)
        loaded = catalog.load(example.example_id)
    assert loaded.labels_HW is not None
    assert (loaded.labels_HW == corrected_HW).all()


def test_a_lost_file_and_an_unknown_id_are_told_apart(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance(), DRAWN)
        shard(tmp_path).unlink()
        with pytest.raises(StoreError, match="cannot be read"):
            catalog.load(example.example_id)
        with pytest.raises(NotFoundError):
            catalog.load("0" * 32)


def test_bytes_that_a_killed_import_left_are_cut_off_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance(), DRAWN)
        whole = shard(tmp_path).read_bytes()
        for limit in (shards.SHARD_BYTES, 1):  # behind the first record, then in a new file
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(shards, "SHARD_BYTES", limit)
                patch.setattr(statements, "insert_example", _interrupt)
                catalog.add(make_example(1), provenance("p2", "s2"), DRAWN)
        assert len(shard(tmp_path).read_bytes()) == 2 * len(whole)
        orphan = shard(tmp_path).with_name("00002.shard")
        assert orphan.stat().st_size
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        assert shard(tmp_path).read_bytes() == whole
        assert not orphan.exists()
        assert (catalog.load(example.example_id).image_HW == example.image_HW).all()


def test_a_record_in_the_place_of_one_that_could_not_be_written_stays(tmp_path: Path) -> None:
    example = make_example(2)
    with Catalog.open(tmp_path) as catalog:
        with disk_that_holds(1_000_000), pytest.raises(StoreError, match="cannot be written"):
            catalog.add(make_example(1, LARGE), provenance("p1", "s1"), DRAWN)
        catalog.add(example, provenance("p2", "s2"), DRAWN)
        with catalog.importing():
            assert (catalog.load(example.example_id).image_HW == example.image_HW).all()


@pytest.mark.parametrize("loss", ["missing", "empty", "of an empty home"])
def test_a_lost_database_is_told_and_costs_no_example(tmp_path: Path, loss: str) -> None:
    home = tmp_path / "home"
    example = make_example()
    with Catalog.open(home) as catalog:
        catalog.add(example, provenance(), DRAWN)
    backup = (home / STORE_FILE).read_bytes()
    whole = shard(home).read_bytes()
    with Catalog.open(tmp_path / "other"):
        pass
    match loss:
        case "missing":
            (home / STORE_FILE).unlink()
        case "empty":
            (home / STORE_FILE).write_bytes(b"")
        case "of an empty home":
            (home / STORE_FILE).write_bytes((tmp_path / "other" / STORE_FILE).read_bytes())
    for _ in range(2):
        with pytest.raises(StoreError, match="database is missing, or older"):
            Catalog.open(home)
    assert shard(home).read_bytes() == whole
    (home / STORE_FILE).write_bytes(backup)
    with Catalog.open(home) as catalog, catalog.importing():
        assert (catalog.load(example.example_id).image_HW == example.image_HW).all()


def test_a_lost_database_is_told_after_the_last_patient_has_withdrawn(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        catalog.add(make_example(), provenance(catalog.pseudonyms().patient("1")), DRAWN)
        catalog.remove_patient(catalog.pseudonyms().patient("1"), actor="local:test")
    (tmp_path / STORE_FILE).unlink()
    with pytest.raises(StoreError, match="database is missing, or older"):
        Catalog.open(tmp_path)


@pytest.mark.parametrize("known_by", ["an example", "a withdrawal", "an exclusion"])
def test_a_lost_pseudonym_key_is_told_and_no_withdrawal_is_undone_by_a_new_one(
    tmp_path: Path, known_by: str
) -> None:
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        patient = catalog.pseudonyms().patient("1")
        match known_by:
            case "an example":
                catalog.add(make_example(), provenance(patient), DRAWN)
            case "a withdrawal":
                catalog.remove_patient(patient, actor="local:test")
            case "an exclusion":
                catalog.note_refusals([(catalog.pseudonyms().source("1.2"), "implant")])
        (tmp_path / PSEUDONYM_KEY_FILE).unlink()
        with pytest.raises(HomeError, match="key is missing"):
            catalog.pseudonyms()
    assert not (tmp_path / PSEUDONYM_KEY_FILE).exists()


def test_an_example_waits_for_its_mask_and_is_then_one_to_train_on(tmp_path: Path) -> None:
    example = make_example()
    bare = Example(example_id=example.example_id, image_HW=example.image_HW, labels_HW=None)
    assert example.labels_HW is not None
    with Catalog.open(tmp_path) as catalog:
        catalog.add(bare, provenance(), None)
        assert (catalog.examples(Part.TRAIN), catalog.unlabelled()) == ([], [bare.example_id])
        assert catalog.load(bare.example_id).labels_HW is None
        assert (catalog.counts().labelled, catalog.counts().unlabelled) == (0, 1)

        with catalog.importing():
            catalog.set_mask(bare.example_id, example.labels_HW, DRAWN)

        assert (catalog.examples(Part.TRAIN), catalog.unlabelled()) == ([bare.example_id], [])
        loaded = catalog.load(bare.example_id)
        assert loaded.labels_HW is not None
        assert (loaded.labels_HW == example.labels_HW).all()
        assert (loaded.image_HW == example.image_HW).all()
        assert catalog.geometry(bare.example_id) == GEOMETRY


def test_an_example_with_but_a_category_is_of_use_where_categories_are(tmp_path: Path) -> None:
    bare = replace(make_example(), labels_HW=None)
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        catalog.add(bare, replace(provenance(), density=None), None)
        labels = catalog.labels()
        assert catalog.examples(Part.TRAIN, categorised=True) == []
        assert catalog.complete(bare.example_id, None, "c")
        assert catalog.labels() > labels
        assert catalog.load(bare.example_id).density == "c"
        assert catalog.examples(Part.TRAIN) == []
        assert catalog.examples(Part.TRAIN, categorised=True) == [bare.example_id]
        assert catalog.counts().categories_by_part[Part.TRAIN] == 1
        catalog.note_use("run-1", Part.TRAIN)
        catalog.note_use("run-2", Part.TRAIN, categorised=True)
        removal = catalog.remove_patient(provenance().patient, actor="local:test")
        assert removal.runs == ("run-2",)


def test_masks_are_counted_by_what_the_newest_of_each_example_shows(tmp_path: Path) -> None:
    example = make_example()
    assert example.labels_HW is not None
    alone_HW = np.where(example.labels_HW == Label.DENSE, Label.DENSE, Label.NOT_DENSE).astype(np.uint8)
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        catalog.add(example, provenance(), DRAWN)
        assert catalog.counts().by_mask == {Drawn(breast=True, dense=True, pectoral=True): 1}
        catalog.set_mask(example.example_id, alone_HW, DRAWN)
        assert catalog.counts().by_mask == {Drawn(breast=False, dense=True, pectoral=False): 1}
        assert catalog.counts().labelled == 1


def test_a_corrected_mask_takes_the_place_of_the_first_whose_pixels_go(tmp_path: Path) -> None:
    example = make_example()
    assert example.labels_HW is not None
    with Catalog.open(tmp_path, encrypted=False) as catalog, catalog.importing():
        catalog.add(example, provenance(), DRAWN)
        first = example.labels_HW.tobytes()
        assert first in shard(tmp_path).read_bytes()
        catalog.set_mask(example.example_id, 3 - example.labels_HW, DRAWN)
        assert first not in shard(tmp_path).read_bytes()
        loaded = catalog.load(example.example_id)
    assert loaded.labels_HW is not None
    assert (loaded.labels_HW == 3 - example.labels_HW).all()
    with sqlite3.connect(tmp_path / STORE_FILE) as connection:
        assert connection.execute("SELECT annotator, drawn_on FROM mask").fetchall() == [
            ("reader-1", "2024-05-17"),
            ("reader-1", "2024-05-17"),
        ]


def three_patients(catalog: Catalog) -> dict[str, Example]:
    examples = {}
    for number, patient in enumerate(("p1", "p2", "p3")):
        examples[patient] = make_example(number)
        catalog.add(examples[patient], provenance(patient, f"s{number}"), DRAWN)
    return examples


def test_a_patients_withdrawal_leaves_no_byte_and_tells_which_runs_had_used_her(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, encrypted=False) as catalog, catalog.importing():
        examples = three_patients(catalog)
        catalog.note_use("run-1", Part.TRAIN)
        catalog.note_use("run-2", Part.TRAIN)
        (gone,) = [p for p in examples if catalog.examples(Part.TRAIN) == [examples[p].example_id]]

        removal = catalog.remove_patient(gone, actor="local:test")

        assert (removal.patients, removal.examples, removal.runs) == (1, 1, ("run-1", "run-2"))
        assert catalog.removals() == [removal]
        assert catalog.is_withdrawn(gone)
        assert catalog.examples(Part.TRAIN) == []
        with pytest.raises(NotFoundError):
            catalog.load(examples[gone].example_id)
        assert examples[gone].image_HW.tobytes()[:64] not in shard(tmp_path).read_bytes()
        for patient, example in examples.items():
            if patient != gone:
                assert (catalog.load(example.example_id).image_HW == example.image_HW).all()
        assert catalog.verify(lambda _done, _all: None).damaged == ()
        assert catalog.remove_patient(gone, actor="local:test").examples == 0


def test_no_row_of_a_removed_patient_stays_in_the_database_or_its_journal(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        three_patients(catalog)
        files = list(tmp_path.glob("site.db*"))
        assert any(b"content of s0" in file.read_bytes() for file in files)
        catalog.remove_patient("p1", actor="local:test")
        for file in tmp_path.glob("site.db*"):
            assert b"content of s0" not in file.read_bytes(), file.name


def test_a_removal_that_is_killed_before_it_erased_is_finished_by_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalog.open(tmp_path, encrypted=False) as catalog:
        examples = three_patients(catalog)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Records, "erase", _interrupt)
            catalog.remove_patient("p1", actor="local:test")
        assert catalog.find_source("s0") is None
        assert examples["p1"].image_HW.tobytes() in shard(tmp_path).read_bytes()

        with catalog.importing():
            assert examples["p1"].image_HW.tobytes()[:64] not in shard(tmp_path).read_bytes()
        assert catalog.counts().examples == 2


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_site_that_leaves_forgets_every_example_and_may_begin_again(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        three_patients(catalog)
        assert catalog.forget_all(actor="local:test").examples == 3
        assert list((tmp_path / EXAMPLES_FOLDER).glob("*.shard")) == []
        assert not catalog.is_withdrawn("p1")
        three_patients(catalog)
        assert catalog.counts().examples == 3


def test_what_was_left_out_is_counted_by_reason_until_it_comes_in(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.note_refusals([("s1", "undecodable"), ("s2", "implant"), ("s3", "implant")])
        catalog.note_refusals([("s1", "undecodable")])
        assert catalog.exclusions() == {"implant": 2, "undecodable": 1}
        catalog.add(make_example(), provenance("p1", "s1"), DRAWN)
        assert catalog.exclusions() == {"implant": 2}


def test_two_imports_do_not_run_at_once(tmp_path: Path) -> None:
    with (
        Catalog.open(tmp_path) as one,
        Catalog.open(tmp_path) as other,
        one.importing(),
        pytest.raises(HomeError),
        other.importing(),
    ):
        pass


def test_counts_name_what_is_unknown(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(), provenance("p1", "s1"), DRAWN)
        unknown = Provenance(patient="p2", source="s2", content="c2", geometry=GEOMETRY)
        catalog.add(make_example(), unknown, DRAWN)
        counts = catalog.counts()
    assert counts.by_part == {Part.TRAIN: 1, Part.VALIDATION: 0, Part.TEST: 1}
    assert counts.by_manufacturer == {"ge": 1, "unknown": 1}
    assert counts.by_view == {"MLO": 1, "unknown": 1}
    assert counts.by_laterality == {"R": 1, "unknown": 1}


def test_an_empty_catalog_counts_nothing(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        assert catalog.counts().examples == 0
        assert catalog.examples(Part.TRAIN) == []


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.touch()
    with pytest.raises(HomeError):
        Catalog.open(home)


def test_a_store_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError):
        Catalog.open(tmp_path)


def test_the_migrations_build_the_tables_of_the_schema(tmp_path: Path) -> None:
    engine = open_store(sqlite_url(tmp_path / "x.db"), MIGRATIONS)
    built = inspect(engine)
    for table in metadata.tables:
        if table == "ledger":
            continue
        assert {column["name"] for column in built.get_columns(table)} == set(metadata.tables[table].c.keys())
        checks = {check["name"] for check in built.get_check_constraints(table)}
        wanted = {str(one.name) for one in metadata.tables[table].constraints if "ck_" in str(one.name)}
        assert checks == wanted
    engine.dispose()
