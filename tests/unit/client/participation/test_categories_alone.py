"""A site whose images have readers' categories and no masks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.catalog import Catalog, Part
from client.home import SiteHome
from client.participation import Workplace, take_part
from client.workplace import open_workplace
from shared.bands import BANDS
from shared.errors import PolicyError
from shared.records import Contribution, Phase
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import PLAN, POLICY, MinimalCoordinator, add_example

WITH_HEAD = PLAN.model_copy(update={"model": PLAN.model.model_copy(update={"density_band": "readers"})})


@pytest.fixture
def site(coordinator: MinimalCoordinator, home: SiteHome) -> Iterator[Workplace]:
    home.settings_file.write_text('device = "cpu"\n')
    home.policy_file.write_text(POLICY)
    with Catalog.open(home.folder) as catalog:
        for seed in range(20):
            add_example(catalog, patient=f"patient-{seed}", seed=seed, category_alone=BANDS[seed % 4])
    workplace = open_workplace(home)
    yield workplace
    workplace.catalog.close()


def told(coordinator: MinimalCoordinator, site: Workplace, phase: Phase, round_number: int) -> Contribution:
    announcement = coordinator.announcement(settings=WITH_HEAD, phase=phase, round_number=round_number)
    answer = take_part(coordinator.ask(announcement), site)
    return Contribution.from_bytes(Envelope.from_bytes(answer).unverified_payload)


def test_it_trains_and_measures_under_a_plan_with_a_head_for_bands(
    coordinator: MinimalCoordinator, site: Workplace
) -> None:
    coordinator.approve(WITH_HEAD)
    num_training = len(site.catalog.examples(Part.TRAIN, categorised=True))

    assert told(coordinator, site, Phase.COUNT, 0).num_examples == num_training > 0
    trained = told(coordinator, site, Phase.TRAIN, 1)
    final = told(coordinator, site, Phase.EVALUATE, 3).evaluation

    assert trained.update is not None
    assert trained.num_examples == num_training
    assert final is not None
    assert final.num_examples == len(site.catalog.examples(Part.TEST, categorised=True))
    assert final.density_categories is not None
    assert final.density_categories.expected is not None
    assert (final.loss, final.dice, final.percent_density, final.calibration) == (None, None, None, None)


def test_it_cannot_approve_of_a_plan_without_one(coordinator: MinimalCoordinator, site: Workplace) -> None:
    assert site.examples(PLAN, Part.TRAIN) == []

    with pytest.raises(PolicyError, match="at least 1 examples to train on"):
        coordinator.approve()
