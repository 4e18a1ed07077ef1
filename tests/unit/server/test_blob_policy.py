"""What a site may move through the blob service, and when."""

from __future__ import annotations

import pytest

from server.service import BlobPolicy
from shared.records import Phase
from tests.unit.server.simulated_federation import Asked, SimulatedFederation, SimulatedSite, honest


def policy_of(federation: SimulatedFederation) -> BlobPolicy:
    coordinator = federation.coordinator
    return BlobPolicy(
        federation=coordinator.federation, memberships=coordinator.memberships, runs=coordinator.runs
    )


@pytest.mark.parametrize("phase", Phase)
def test_a_site_may_send_one_update_of_the_bases_size_while_it_is_asked_to_train(
    phase: Phase, federation: SimulatedFederation
) -> None:
    policy, allowed = policy_of(federation), []

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        size = asked.announcement.base.size_bytes
        if asked.occasion.phase is phase:
            sizes = (0, 1, size, int(1.1 * size), int(1.1 * size) + 2, 100 * size)
            allowed[:] = [policy.may_send(site.site_id, "0" * 64, each) for each in sizes]
        return honest(site, asked)

    federation["bergen"].does(look)
    federation["bergen"].counts = look

    federation.run()

    trains = phase is Phase.TRAIN
    assert allowed == [False, trains, trains, trains, False, False]


def test_a_site_that_is_not_asked_may_move_nothing_at_all(federation: SimulatedFederation) -> None:
    federation.run()

    policy = policy_of(federation)
    for blob in (federation.base_of(1), federation.aggregate_of(2)):
        assert not policy.may_fetch("site-bergen", blob.digest)
    assert not any(policy.may_send("site-bergen", "0" * 64, size) for size in (0, 1, 1000))
    assert policy.is_active("site-bergen")
    assert not policy.is_active("site-nobody")
