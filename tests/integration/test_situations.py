"""What sites tell of themselves outside of runs, over TLS into a coordinator's store; and attacks on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import grpc
import pytest

from client.catalog import Catalog, Part
from client.consenting import Consenting
from client.gpus import Gpu
from client.home import SiteHome
from client.store.ledger import Kind, Ledger, Rule
from client.store.opening import open_site_store
from server.member_rows import of_machine
from server.members import Fitness, enrolled_members
from shared.consent import consent_pb2, consent_pb2_grpc
from shared.consent.records import SITUATION_TYPE, GpuModel, Situation
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.integration.member_coordinator import MemberCoordinator, channel_of

TOLD = 'egress.readiness = "told"\n'
KEPT = "egress.smallest_count = 5\n"
TIMEOUT_S = 10.0


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteHome:
    gpu = Gpu(name="NVIDIA L4", used_mib=1, total_mib=23_034, busy_percent=0)
    monkeypatch.setattr("client.situation.list_gpus", lambda: [gpu])
    return members.member(tmp_path / "aarhus")


def holds(monkeypatch: pytest.MonkeyPatch, training: int, validation: int, test: int) -> None:
    """The catalog says that so many labelled examples are here."""
    parts = {Part.TRAIN: training, Part.VALIDATION: validation, Part.TEST: test}
    real = Catalog.counts
    monkeypatch.setattr(Catalog, "counts", lambda self: dataclasses.replace(real(self), by_part=parts))


def tend(home: SiteHome, policy: str) -> None:
    home.policy_file.write_text(policy)
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.tend()  # twice at once tells once


def kept(members: MemberCoordinator) -> Situation | None:
    return members.coordinator.situations.told().get("site-aarhus")


def lines(home: SiteHome) -> list[tuple[str, ...]]:
    engine = open_site_store(home.folder)
    try:
        entries = [each for each in Ledger(engine).lines() if each.kind == Kind.SITUATION]
    finally:
        engine.dispose()
    assert all(each.rule == Rule.READINESS for each in entries)
    return [tuple(each.names) for each in entries]


def test_nothing_is_told_unless_the_policy_says_so(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, 120, 15, 14)

    tend(home, KEPT)

    assert kept(members) is None
    assert lines(home) == []


def test_counts_and_gpus_are_told_once_with_a_line_in_the_ledger_and_shown_on_the_card(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, 120, 15, 4)

    tend(home, TOLD)
    tend(home, TOLD)

    told = kept(members)
    assert told is not None
    assert (told.training, told.validation, told.test) == (120, 15, None)
    assert told.gpus == (GpuModel(name="NVIDIA L4", memory_gib=22),)
    assert lines(home) == [("gpus", "is_told", "number", "protocol", "site_id", "training", "validation")]
    (member,) = enrolled_members(members.coordinator, {})
    assert member.fitness is Fitness.NOT_KNOWN
    assert of_machine(member)["situation"] == {
        "training": 120,
        "validation": 15,
        "test": None,
        "gpus": [{"name": "NVIDIA L4", "memory_gib": 22}],
    }


def test_a_few_examples_more_are_not_told_until_they_are_enough(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, 120, 15, 14)
    tend(home, TOLD)

    holds(monkeypatch, 123, 15, 14)
    tend(home, TOLD)
    few = kept(members)
    holds(monkeypatch, 125, 15, 14)
    tend(home, TOLD)
    enough = kept(members)

    assert few is not None
    assert enough is not None
    assert (few.training, enough.training) == (120, 125)
    assert len(lines(home)) == 2


def test_a_policy_that_keeps_it_from_now_on_makes_the_coordinator_forget_it(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, 120, 15, 14)
    tend(home, TOLD)

    tend(home, KEPT)
    assert kept(members) is None

    holds(monkeypatch, 123, 15, 14)
    tend(home, TOLD)
    told = kept(members)
    assert told is not None
    assert told.training == 120  # it still differs in too few from what was told before


def test_a_coordinator_of_the_minor_version_before_is_told_nothing_and_plans_are_tended_all_the_same(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds(monkeypatch, 120, 15, 14)

    def unknown(_service: object, _request: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    monkeypatch.setattr("server.consent.ConsentService.Situate", unknown)
    members.stop()
    members.start()

    tend(home, TOLD)

    assert kept(members) is None


# -- attacks; what the coordinator keeps is what it kept before


def send(home: SiteHome, situation: Situation, key: SigningKey | None = None) -> str:
    envelope = sign(SITUATION_TYPE, situation.to_bytes(), key or SigningKey.load(home.signing_key_file))
    with channel_of(home) as channel:
        stub = consent_pb2_grpc.ConsentStub(channel)
        try:
            stub.Situate(consent_pb2.SituateRequest(envelope=envelope.to_bytes()), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "taken"


def situation(number: int, site_id: str = "site-aarhus", training: int = 7) -> Situation:
    return Situation(number=number, site_id=site_id, is_told=True, training=training)


def test_replaying_an_older_situation_changes_nothing(members: MemberCoordinator, home: SiteHome) -> None:
    assert send(home, situation(2)) == "taken"

    assert send(home, situation(1, training=9)) == "FAILED_PRECONDITION"
    assert send(home, situation(2, training=9)) == "FAILED_PRECONDITION"

    assert kept(members) == situation(2)


def test_a_situation_of_another_site_or_under_another_key_is_not_kept(
    members: MemberCoordinator, home: SiteHome
) -> None:
    assert send(home, situation(1, site_id="site-bergen")) == "FAILED_PRECONDITION"
    assert send(home, situation(1), SigningKey.generate()) == "FAILED_PRECONDITION"

    assert members.coordinator.situations.told() == {}
