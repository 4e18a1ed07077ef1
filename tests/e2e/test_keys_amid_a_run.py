"""Every key of a federation is exchanged by command while it trains; no round and no site is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.federation import wait_until
from tests.e2e.small_federation import SmallFederation, build, running, shared_hospitals

ROUNDS = 5
LEARNED_WITHIN_S = 100.0
"""A site asks for the coordinator's keys once a minute at the latest."""


@pytest.fixture
def own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallFederation]:
    """A federation of two hospitals that shares nothing with the other tests."""
    hospitals = shared_hospitals(request.config, tmp_path_factory)[:2]
    with running(build(tmp_path_factory.mktemp("keys"), hospitals)) as federation:
        yield federation


def believed(federation: SmallFederation) -> list[tuple[int, list[str]]]:
    """The version of the coordinator's keys, and the roots, that each site believes."""
    shown = [role.ask("keys", "show") for role in federation.sites.values()]
    return [(one["coordinator_version"], one["coordinator_roots"]) for one in shown]


def states(shown: dict[str, Any]) -> list[list[str]]:
    return [[part["state"] for part in one["parts"]] for one in shown["rounds"]]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_no_round_is_lost_while_every_key_is_exchanged(own: SmallFederation, tmp_path: Path) -> None:
    coordinator, (north, lake) = own.coordinator, own.sites.values()
    first = own.finish(own.launch(own.write_plan("before", rounds=1)))
    ids = {row["name"]: row["site_id"] for row in coordinator.ask("site", "list")}

    run_id = own.launch(own.write_plan("amid", rounds=ROUNDS, local_epochs=30))
    own.wait_for_step("hospital-north", run_id, round_number=1)
    north.run("keys", "rotate")
    own.wait_for_step("hospital-lake", run_id, round_number=3)
    coordinator.stop()
    coordinator.run("keys", "rotate-signing")
    new_root = coordinator.ask("keys", "rotate-root")["root_fingerprint"]
    coordinator.start()
    second = own.finish(run_id)

    assert second["state"] == "finished"
    assert states(second) == [["admitted", "admitted"]] * ROUNDS
    interrupted = 3
    assert all(one["attempt"] == 1 for one in second["rounds"] if one["number"] != interrupted)
    assert {row["name"]: row["site_id"] for row in coordinator.ask("site", "list")} == ids
    for shown in (first, second):
        model = tmp_path / shown["name"]
        coordinator.run("model", "download", shown["model_id"], "--output", str(model))
        assert coordinator.ask("model", "verify", str(model))["verified"]

    def nobody_needs_the_older_root() -> bool:
        return coordinator.ask("keys", "show")["depending_on_older_root"] == []

    wait_until(nobody_needs_the_older_root, LEARNED_WITHIN_S, "certificates under the new root")
    coordinator.stop()
    coordinator.run("keys", "retire-root")
    coordinator.start()
    third = own.finish(own.launch(own.write_plan("after", rounds=1)))

    assert states(third) == [["admitted", "admitted"]]
    assert [roots[0] for _, roots in believed(own)] == [new_root, new_root]
    wait_until(lambda: believed(own) == [(4, [new_root])] * 2, LEARNED_WITHIN_S, "the end of the older root")
    assert all(check["passed"] for check in lake.ask("check"))
