"""What a site may move through the blob service, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.service import BlobPolicy, discard_abandoned
from server.store.run import ExpectedUpdate
from shared.plan import PrivacyPlan
from shared.records import MASKING_PHASES, Phase
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.simulated_federation import (
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    small_plan,
)


def policy_of(federation: SimulatedFederation) -> BlobPolicy:
    coordinator = federation.coordinator
    return BlobPolicy(
        federation=coordinator.federation,
        memberships=coordinator.memberships,
        runs=coordinator.runs,
        models=coordinator.models,
    )


@pytest.mark.parametrize("phase", Phase)
def test_a_site_may_send_one_update_of_the_bases_size_while_it_is_asked_to_train(
    phase: Phase, found_federation: Callable[..., SimulatedFederation]
) -> None:
    masked = PrivacyPlan(secure_aggregation="on" if phase in MASKING_PHASES else "off")
    federation = found_federation(plan=small_plan(2).model_copy(update={"privacy": masked}))
    policy, allowed = policy_of(federation), []

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        size = asked.announcement.base.size_bytes
        if asked.occasion.phase is phase:
            sizes = (0, 1, size, int(2.1 * size), int(2.1 * size) + 2, 100 * size)
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


def test_a_site_that_sends_one_blob_after_another_may_send_one_in_each_attempt(
    federation: SimulatedFederation,
) -> None:
    policy, allowed = policy_of(federation), []

    def fill_the_disk(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.TRAIN:
            size = asked.announcement.base.size_bytes
            assert not policy.may_send(site.site_id, "f" * 64, 100 * size)  # not even named
            named = [f"{asked.occasion.round_number}{number}".ljust(64, "0") for number in (1, 2, 3, 1)]
            allowed.append([policy.may_send(site.site_id, digest, size) for digest in named])
        return honest(site, asked)

    federation["bergen"].does(fill_the_disk)

    federation.run()

    assert allowed == [[True, False, False, True]] * 2


def test_a_site_may_send_its_update_while_an_interrupted_run_still_waits_to_be_taken_up(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(federation)
    asked = [
        ExpectedUpdate(attempt=("run-waiting", 2, 1), base_bytes=1000),
        ExpectedUpdate(attempt=("run-going-on", 1, 1), base_bytes=1000),
    ]
    monkeypatch.setattr(type(policy.runs), "expected_updates", lambda *_: asked)

    allowed = [policy.may_send("site-bergen", digest * 64, 1000) for digest in ("a", "b", "c", "a", "b")]
    asked.pop(0)
    later = [policy.may_send("site-bergen", digest * 64, 1000) for digest in ("b", "a", "c")]

    assert allowed == [True, True, False, True, True]
    assert later == [True, False, False]


def test_unfinished_uploads_outlast_a_restart_in_their_round_and_no_more(
    federation: SimulatedFederation,
) -> None:
    blobs, upload = federation.coordinator.blobs, BlobRef.of(b"an update that a site has begun to send")

    def send_a_part(site: SimulatedSite, asked: Asked) -> bytes:
        with blobs.try_partial(upload, site.site_id) as partial:
            partial.append(b"an update")
        return honest(site, asked)

    federation["bergen"].does(send_a_part, in_round=2)
    federation["cork"].does(send_a_part, in_round=1)
    federation.channel.breaks_in_round = 2
    with pytest.raises(ConnectionError):
        federation.run()
    assert blobs.partial_bytes(upload.digest, "site-cork") == 0  # its round is over

    with blobs.try_partial(upload, "site-bergen") as partial:
        partial.append(b"an update")
    discard_abandoned(federation.coordinator)
    assert blobs.partial_bytes(upload.digest, "site-bergen") == 9

    federation.resume()
    assert blobs.partial_bytes(upload.digest, "site-bergen") == 0
    with blobs.try_partial(upload, "site-bergen") as partial:
        partial.append(b"an update")
    discard_abandoned(federation.coordinator)
    assert blobs.partial_bytes(upload.digest, "site-bergen") == 0
