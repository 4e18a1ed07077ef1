"""A round's weights on their way to a site: by what has changed where that is right, else whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from client.participation import take_part
from client.workplace import Workplace
from shared.model import initial_model
from shared.model.weights import to_bytes, weights_of
from shared.model.weights_delta import write_delta
from shared.records import Announcement, Contribution, Delta
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import PLAN, MinimalCoordinator


def first() -> bytes:
    """The weights of the first round."""
    return to_bytes(weights_of(initial_model(PLAN)))


def second() -> bytes:
    """The weights of the second round."""
    return to_bytes({name: 1.001 * tensor for name, tensor in weights_of(initial_model(PLAN)).items()})


def changes(old: bytes, new: bytes) -> bytes:
    file = io.BytesIO()
    write_delta(
        io.BytesIO(old), io.BytesIO(new), file, old_digest=BlobRef.of(old).digest, size_bytes=len(new)
    )
    return file.getvalue()


@dataclass
class SecondRound:
    """A site that took part in the first round, and is asked for the second one with a delta."""

    coordinator: MinimalCoordinator
    workplace: Workplace

    def __post_init__(self) -> None:
        take_part(self.coordinator.ask(self.coordinator.announcement()), self.workplace)
        self.first = BlobRef.of(first())
        self.coordinator.fetched.clear()

    def asked(self, delta: bytes) -> Announcement:
        blob = self.coordinator.blobs.put_bytes(delta)
        return self.coordinator.announcement(
            round_number=2, base=second(), delta=Delta(since=self.first.digest, blob=blob)
        )

    def taken(self, announcement: Announcement) -> list[str]:
        """What was fetched, once the site has contributed from the very weights of the round."""
        envelope = take_part(self.coordinator.ask(announcement), self.workplace)
        answer = Contribution.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
        self.workplace.blobs.verify(announcement.base)
        assert answer.update is not None
        kept = {announcement.plan.digest, announcement.base.digest, answer.update.digest}
        assert set(self.workplace.blobs.digests()) == kept
        return self.coordinator.fetched


@pytest.fixture
def second_round(coordinator: MinimalCoordinator, workplace: Workplace) -> SecondRound:
    return SecondRound(coordinator, workplace)


def test_a_site_that_has_the_weights_before_fetches_what_has_changed_and_not_the_weights(
    second_round: SecondRound,
) -> None:
    announcement = second_round.asked(changes(first(), second()))
    assert announcement.delta is not None
    assert announcement.delta.blob.size_bytes < 0.7 * announcement.base.size_bytes

    assert second_round.taken(announcement) == [announcement.delta.blob.digest]


def test_a_site_that_was_not_there_before_fetches_the_weights_whole(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    delta = coordinator.blobs.put_bytes(changes(first(), second()))
    announcement = coordinator.announcement(
        round_number=2, base=second(), delta=Delta(since=BlobRef.of(first()).digest, blob=delta)
    )

    take_part(coordinator.ask(announcement), workplace)

    assert coordinator.fetched == [announcement.plan.digest, announcement.base.digest]


def test_a_site_that_is_asked_again_has_the_weights_and_fetches_nothing(second_round: SecondRound) -> None:
    announcement = second_round.asked(changes(first(), second()))
    second_round.taken(announcement)
    second_round.coordinator.fetched.clear()
    again = announcement.model_copy(
        update={"occasion": announcement.occasion.model_copy(update={"attempt": 2})}
    )

    assert second_round.taken(again) == []


@pytest.mark.parametrize(
    "delta",
    [
        pytest.param(lambda: b"rubbish", id="rubbish"),
        pytest.param(lambda: changes(first(), second())[:-1], id="cut short"),
        pytest.param(lambda: changes(second(), first()), id="of other weights"),
        pytest.param(lambda: changes(first(), first()), id="that leads elsewhere"),
        pytest.param(lambda: changes(first(), second()) + bytes(len(second())), id="longer than the weights"),
    ],
)
def test_a_delta_that_does_not_lead_to_the_announced_weights_is_dropped_and_they_come_whole(
    delta: Callable[[], bytes], second_round: SecondRound
) -> None:
    announcement = second_round.asked(delta())

    assert second_round.taken(announcement)[-1] == announcement.base.digest


def test_a_delta_that_the_coordinator_has_lost_is_done_without(second_round: SecondRound) -> None:
    announcement = second_round.asked(changes(first(), second()))
    assert announcement.delta is not None
    second_round.coordinator.blobs.remove(announcement.delta.blob.digest)

    assert second_round.taken(announcement)[-1] == announcement.base.digest


def test_earlier_weights_that_the_sites_disk_has_damaged_are_done_without(second_round: SecondRound) -> None:
    path = second_round.workplace.blobs.path(second_round.first.digest)
    path.write_bytes(first()[:-1] + bytes([first()[-1] ^ 1]))
    announcement = second_round.asked(changes(first(), second()))

    assert second_round.taken(announcement)[-1] == announcement.base.digest
