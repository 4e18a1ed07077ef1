"""Data that change under a round: what was removed is not used, what was corrected is; the round goes on."""

from __future__ import annotations

import numpy as np
import pytest

from client.catalog import Catalog, MaskOrigin, Part, Removal
from client.imaging.example import Example
from client.participation import take_part
from client.store import examples as statements
from client.workplace import Workplace
from shared.records import Contribution
from shared.store import transaction
from tests.unit.client.participation.conftest import PLAN, MinimalCoordinator
from tests.unit.client.participation.test_take_part import read


def remove_owner_of(example_id: str, catalog: Catalog) -> Removal:
    with transaction(catalog._engine) as connection:
        row = statements.find_example(connection, "example_id", example_id)
    assert row is not None
    with catalog.importing():
        return catalog.remove_patient(row.patient, actor="local:test")


def test_a_corrected_mask_is_trained_on_from_then_on(workplace: Workplace) -> None:
    workplace.dataset(PLAN, Part.TRAIN)
    first = workplace.catalog.examples(Part.TRAIN)[0]
    with workplace.catalog.importing():
        workplace.catalog.set_mask(first, np.full((64, 64), 2, np.uint8), MaskOrigin(kind="png"))

    dataset = workplace.dataset(PLAN, Part.TRAIN)

    assert dataset is not None
    assert (dataset.batch([0]).labels_NHW.numpy() == 2).all()


def test_a_removal_between_listing_and_loading_costs_no_round(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, removals = Catalog.load, []

    def load_after_a_removal(catalog: Catalog, example_id: str) -> Example:
        if not removals:
            removals.append(remove_owner_of(example_id, catalog))
        return load(catalog, example_id)

    monkeypatch.setattr(Catalog, "load", load_after_a_removal)

    contribution = read(
        take_part(coordinator.ask(coordinator.announcement()), workplace), Contribution, coordinator.home
    )

    assert contribution.num_examples == len(workplace.catalog.examples(Part.TRAIN))


def test_a_removal_between_fitting_and_noting_leaves_nobody_untold(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, removals = Catalog.note_use, []

    def note_after_a_removal(catalog: Catalog, run_id: str, part: Part, *, categorised: bool) -> None:
        if not removals:
            removals.append(remove_owner_of(catalog.examples(Part.TRAIN)[0], catalog))
        note(catalog, run_id, part, categorised=categorised)

    monkeypatch.setattr(Catalog, "note_use", note_after_a_removal)

    contribution = read(
        take_part(coordinator.ask(coordinator.announcement()), workplace), Contribution, coordinator.home
    )

    # Trained without her, so that her removal need not name the run.
    assert removals[0].runs == ()
    assert contribution.num_examples == len(workplace.catalog.examples(Part.TRAIN))
