"""A run of a coordinator and sites one minor version apart, and an update of the coordinator amid its rounds.

The code is one; what is told as installed differs, and with it all that follows from the version.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from deploy.demo.federation import CommandError, coordinator, free_ports, site, wait_until
from tests.e2e.small_federation import PORTS, SmallFederation, bring_in, in_parallel, shared_hospitals

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MAJOR, MINOR = (int(part) for part in version("mammofed").split(".")[:2])
NEXT = f"{MAJOR}.{MINOR + 1}.0"
ROUNDS = 4
UPDATED, AS_BEFORE = "hospital-north", "hospital-lake"


@pytest.fixture
def next_version(tmp_path: Path) -> dict[str, str]:
    """An environment in which the next minor version is installed, as far as anybody can tell."""
    told = tmp_path / "installed" / f"mammofed-{NEXT}.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mammofed\nVersion: {NEXT}\n")
    return {"PYTHONPATH": str(told.parent)}


@pytest.fixture
def federation(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    next_version: dict[str, str],
) -> Iterator[SmallFederation]:
    """A coordinator and a site of this version, and a site of the next."""
    hospitals = [
        each
        for each in shared_hospitals(request.config, tmp_path_factory)
        if each.name in {UPDATED, AS_BEFORE}
    ]
    federation = SmallFederation(
        folder=tmp_path,
        first_port=free_ports(PORTS),
        coordinator=coordinator(tmp_path / "coordinator"),
        sites={
            UPDATED: site(tmp_path / "updated", environment=next_version),
            AS_BEFORE: site(tmp_path / "as-before"),
        },
        hospitals=hospitals,
    )
    first_port = str(federation.first_port)
    federation.coordinator.run("init", "--name", "Versions", "--first-port", first_port)
    try:
        federation.coordinator.start()
        in_parallel([lambda each=each: bring_in(federation, each) for each in hospitals])
        yield federation
    finally:
        with contextlib.suppress(CommandError, subprocess.SubprocessError):
            federation.stop_all()


def fits(federation: SmallFederation) -> dict[str, str]:
    """By site, what the coordinator says of its version."""
    return {row["name"]: row["fits"] for row in federation.coordinator.ask("site", "list")}


def test_neighbours_work_together_and_a_coordinator_is_updated_between_rounds(
    federation: SmallFederation, next_version: dict[str, str]
) -> None:
    apart, same = "one minor version apart: they work together", "same minor version"
    assert fits(federation) == {UPDATED: apart, AS_BEFORE: same}
    checks = {each["name"]: each for each in federation.sites[UPDATED].ask("check")}
    assert checks["version"]["passed"]
    assert f"this site {NEXT}" in checks["version"]["finding"]

    run_id = federation.launch(federation.write_plan("versions", rounds=ROUNDS))

    def rounds_done() -> int:
        return int(federation.coordinator.ask("run", "show", run_id)["num_finished"])

    wait_until(lambda: rounds_done() >= 1, 120, "the first round")
    federation.coordinator.stop()
    federation.coordinator.environment = next_version
    federation.coordinator.start()

    run = federation.finish(run_id)
    assert run["state"] == "finished"
    states = [[part["state"] for part in each["parts"]] for each in run["rounds"]]
    assert states == [["admitted", "admitted"]] * ROUNDS
    assert fits(federation) == {UPDATED: same, AS_BEFORE: apart}
