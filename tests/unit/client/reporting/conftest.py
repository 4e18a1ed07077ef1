"""A catalog with a few drawn examples, all numbers known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from client.catalog import Catalog, MaskOrigin, Part, Provenance, new_example_id
from client.imaging.example import Example, Label
from client.imaging.mammogram import Laterality, Spacing, View
from client.imaging.preparation import Geometry

SHAPE = (40, 30)
GEOMETRY = Geometry(source_shape=(800, 500), mirrored=False, box=(0, 0, 80, 60), prepared_shape=SHAPE)
SPACING = Spacing(row_mm=0.4, column_mm=0.4)

Add = Callable[..., str]


def draw_labels(num_dense: int) -> np.ndarray:
    """A breast of 20 x 20 pixels, so many of them dense, beside a muscle."""
    labels_HW = np.zeros(SHAPE, np.uint8)
    breast_HW = np.full(400, Label.ADIPOSE, np.uint8)
    breast_HW[:num_dense] = Label.DENSE
    labels_HW[10:30, 5:25] = breast_HW.reshape(20, 20)
    labels_HW[:6, :6] = Label.PECTORAL
    return labels_HW


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def add(catalog: Catalog) -> Add:
    def add_one(
        patient: str, num_dense: int | None = 100, spacing: Spacing | None = SPACING, **properties: object
    ) -> str:
        example = Example(
            example_id=new_example_id(),
            image_HW=np.random.default_rng(len(patient)).integers(0, 65536, SHAPE).astype(np.uint16),
            labels_HW=None if num_dense is None else draw_labels(num_dense),
        )
        values: dict[str, object] = {
            "view": View.CC,
            "laterality": Laterality.LEFT,
            "manufacturer": "ge",
            "year": 2020,
            "density": "b",
            **properties,
        }
        provenance = Provenance(
            patient=patient,
            source=f"source {example.example_id}",
            content=f"content {example.example_id}",
            geometry=GEOMETRY,
            spacing=spacing,
            **values,  # type: ignore[arg-type]
        )
        catalog.add(example, provenance, None if num_dense is None else MaskOrigin(kind="png"))
        return example.example_id

    return add_one


@pytest.fixture
def filled(catalog: Catalog, add: Add) -> Catalog:
    """Three patients, one in each part, five examples, one of them without a mask."""
    first = add("p1", 100)
    add("p1", 200, view=View.MLO, laterality=Laterality.RIGHT)
    add("p1", None, year=None, density=None)
    add("p2", 40, manufacturer="ims giotto")
    add("p3", 0, spacing=None, manufacturer=None)
    assert first in catalog.examples(Part.TRAIN)
    catalog.note_refusals([("a", "implant"), ("b", "spot"), ("c", "spot"), ("d", "undecodable")])
    return catalog
