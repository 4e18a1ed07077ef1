"""The catalog keeps what was finished, exactly, and nothing that names a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect

from client.catalog import EXAMPLES_FOLDER, MIGRATIONS, STORE_FILE, Catalog, Part, Provenance, new_example_id
from client.imaging.example import Example
from client.imaging.mammogram import Laterality, Spacing, View
from client.store.schema import metadata
from shared.errors import HomeError, NotFoundError, StoreError
from shared.store import open_store, sqlite_url


def make_example(seed: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    return Example(
        example_id=new_example_id(),
        image_HW=rng.integers(0, 65536, (30, 20)).astype(np.uint16),
        labels_HW=rng.integers(0, 4, (30, 20)).astype(np.uint8),
    )


def provenance(patient: str = "p1", source: str = "s1") -> Provenance:
    return Provenance(
        patient=patient,
        source=source,
        spacing=Spacing(row_mm=0.2, column_mm=0.3),
        view=View.MLO,
        laterality=Laterality.RIGHT,
        manufacturer="ge",
    )


def test_an_example_comes_back_bit_for_bit(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        part = catalog.add(example, provenance())
    with Catalog.open(tmp_path) as catalog:
        assert catalog.examples(part) == [example.example_id]
        loaded = catalog.load(example.example_id)
    assert loaded.image_HW.dtype == np.uint16
    assert (loaded.image_HW == example.image_HW).all()
    assert (loaded.labels_HW == example.labels_HW).all()


def test_all_images_of_a_patient_are_in_one_part(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        parts = {
            (patient, catalog.add(make_example(), provenance(f"p{patient}", f"s{patient}-{image}")))
            for image in range(4)
            for patient in range(6)
        }
    assert len(parts) == 6


def test_examples_are_listed_in_the_order_of_arrival(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        ids = []
        for number in range(12):
            example = make_example(number)
            catalog.add(example, provenance("p1", f"s{number}"))
            ids.append(example.example_id)
        assert catalog.examples(Part.TRAIN) == ids


def test_the_same_source_is_not_added_twice_and_leaves_no_file(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(1), provenance())
        with pytest.raises(StoreError):
            catalog.add(make_example(2), provenance())
        assert catalog.has("s1")
        assert catalog.counts().examples == 1
    assert len(list((tmp_path / EXAMPLES_FOLDER).iterdir())) == 1


def test_a_disk_that_refuses_leaves_the_catalog_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalog.open(tmp_path) as catalog:
        catalog.add(make_example(1), provenance("p1", "s1"))

        def refuse(*_: object, **__: object) -> None:
            raise StoreError("A file cannot be written.", "Free disk space.")

        monkeypatch.setattr("client.catalog.write_file", refuse)
        with pytest.raises(StoreError):
            catalog.add(make_example(2), provenance("p2", "s2"))
        assert not catalog.has("s2")
        counts = catalog.counts()
    assert (counts.examples, counts.patients) == (1, 1)


def test_a_flipped_byte_in_a_stored_example_is_noticed(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance())
        (file,) = (tmp_path / EXAMPLES_FOLDER).glob("*.safetensors")
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(StoreError, match="damaged"):
            catalog.load(example.example_id)


def test_a_lost_file_and_an_unknown_id_are_told_apart(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance())
        (tmp_path / EXAMPLES_FOLDER / f"{example.example_id}.safetensors").unlink()
        with pytest.raises(StoreError, match="missing"):
            catalog.load(example.example_id)
        with pytest.raises(NotFoundError):
            catalog.load("0" * 32)


def test_files_that_a_killed_import_left_are_removed_by_the_next(tmp_path: Path) -> None:
    example = make_example()
    with Catalog.open(tmp_path) as catalog:
        catalog.add(example, provenance())
        orphan = tmp_path / EXAMPLES_FOLDER / "0123.safetensors"
        temporary = tmp_path / EXAMPLES_FOLDER / ".4567.safetensors.x1y2"
        orphan.touch()
        temporary.touch()
        with catalog.importing():
            assert not orphan.exists()
            assert not temporary.exists()
        assert catalog.load(example.example_id).example_id == example.example_id


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
        catalog.add(make_example(), provenance("p1", "s1"))
        catalog.add(make_example(), Provenance(patient="p2", source="s2"))
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
    for table in ("patient", "example"):
        assert {column["name"] for column in built.get_columns(table)} == set(metadata.tables[table].c.keys())
        checks = {check["name"] for check in built.get_check_constraints(table)}
        wanted = {str(one.name) for one in metadata.tables[table].constraints if "ck_" in str(one.name)}
        assert checks == wanted
    engine.dispose()
