"""What has changed of the weights, offered to sites beside the weights: when, to whom, for how long."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import server.aggregation
from server.lifecycle import RunState
from shared.model.weights_delta import apply_delta
from shared.records import Announcement, Phase
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.simulated_federation import (
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
)

Make = Callable[..., SimulatedFederation]


@dataclass
class Watcher:
    """Takes part honestly, writes down what it is offered, and applies every delta to what it had before."""

    held: dict[str, bytes] = field(default_factory=dict)
    offered: list[Announcement] = field(default_factory=list)
    rebuilt: list[bool] = field(default_factory=list)

    def __call__(self, site: SimulatedSite, asked: Asked) -> bytes:
        announcement, coordinator = asked.announcement, site.coordinator
        self.offered.append(announcement)
        base = coordinator.blobs.path(announcement.base.digest).read_bytes()
        if announcement.delta is not None:
            delta, new = announcement.delta, io.BytesIO()
            assert coordinator.runs.may_fetch(site.site_id, delta.blob.digest)
            apply_delta(
                io.BytesIO(self.held[delta.since]),
                io.BytesIO(coordinator.blobs.path(delta.blob.digest).read_bytes()),
                new,
                old_digest=delta.since,
                size_bytes=announcement.base.size_bytes,
            )
            self.rebuilt.append(new.getvalue() == base)
        self.held[announcement.base.digest] = base
        return honest(site, asked)


def test_from_the_second_round_on_sites_are_offered_what_has_changed_and_it_leads_to_the_weights(
    found_federation: Make,
) -> None:
    federation, watcher = found_federation(3), Watcher()
    federation["cork"].does(watcher)

    federation.run()

    offered = [
        (one.occasion.round_number, one.occasion.phase, one.delta is not None) for one in watcher.offered
    ]
    assert offered == [
        (1, Phase.TRAIN, False),
        (2, Phase.TRAIN, True),
        (3, Phase.TRAIN, True),
        (3, Phase.EVALUATE, True),
    ]
    assert watcher.rebuilt == [True, True, True]
    assert all(one.delta.blob.size_bytes < 0.9 * one.base.size_bytes for one in watcher.offered[1:])


def test_a_delta_goes_with_the_attempts_of_its_round_and_no_longer(found_federation: Make) -> None:
    federation, watcher = found_federation(2), Watcher()

    def refuse_at_first(site: SimulatedSite, asked: Asked) -> bytes:
        watcher(site, asked)
        return refuse(site, asked)

    federation["cork"].does(watcher)
    federation["cork"].does(refuse_at_first, watcher, in_round=2)
    federation["aarhus"].does(refuse, honest, in_round=2)

    federation.run()

    assert federation.state is RunState.FINISHED
    second = [one for one in watcher.offered if one.occasion.round_number == 2]
    assert [one.occasion.attempt for one in second if one.occasion.phase is Phase.TRAIN] == [1, 2]
    assert second[0].delta == second[1].delta
    for one in watcher.offered[1:]:
        assert not federation.coordinator.runs.may_fetch("site-cork", one.delta.blob.digest)
        assert not federation.coordinator.blobs.has(one.delta.blob.digest)
    assert federation.coordinator.kept_digests() == set(federation.coordinator.blobs.digests())


def test_a_run_that_goes_on_after_an_interruption_offers_its_first_weights_whole(
    found_federation: Make,
) -> None:
    federation, watcher = found_federation(3), Watcher()
    federation.channel.breaks_in_round = 3
    with pytest.raises(ConnectionError):
        federation.run()
    federation["cork"].does(watcher)

    federation.resume()

    assert [one.delta is not None for one in watcher.offered] == [False, True]


def test_changes_that_hardly_pack_are_not_offered(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, watcher = found_federation(2), Watcher()
    federation["cork"].does(watcher)
    monkeypatch.setattr(server.aggregation, "WORTH_A_DELTA", 0.1)

    federation.run()

    assert [one.delta for one in watcher.offered] == [None, None, None]


def test_an_update_that_names_the_offered_delta_is_rejected(found_federation: Make) -> None:
    federation = found_federation(2)

    def name_the_delta(site: SimulatedSite, asked: Asked) -> bytes:
        delta = asked.announcement.delta
        assert delta is not None
        return site.signed(site.contribution(asked, BlobRef.of(_content(site, delta.blob))))

    federation["cork"].does(name_the_delta, in_round=2)

    federation.run()

    assert federation.answer_of("cork", 2)[1] == (
        "A contribution was rejected. Its update is a blob of the coordinator."
    )


def _content(site: SimulatedSite, blob: BlobRef) -> bytes:
    return site.coordinator.blobs.path(blob.digest).read_bytes()
