"""A person stops a run while its sites train: they stop within seconds, and can go on from there."""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.demo.federation import Role, wait_until
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from tests.e2e.small_federation import SmallFederation
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)
pytestmark = pytest.mark.long

LONG = {"local_epochs": 100, "batch_size": 1, "learning_rate": 0.001}
LARGER = {"size": "tiny", "input_height_px": 256, "input_width_px": 128}
"""Than the smallest: else a quick machine is through before the command to stop has begun."""

TIMEOUT_S = 300.0
STOPS_WITHIN_S = 10.0
NOTICED_WITHIN_S = 60.0


def log_of(role: Role) -> str:
    return (role.home / "logs" / "executor.log").read_text(errors="replace")


def last_step(role: Role, run_id: str) -> tuple[int, int]:
    """How far a site's training in the first round has come, and how many steps there are."""
    steps = re.findall(rf"{run_id} round 1 step (\d+)/(\d+)", log_of(role))
    number, num_steps = steps[-1]
    return int(number), int(num_steps)


def test_a_run_that_is_stopped_amid_training_ends_it_at_every_site_within_seconds(
    federation: SmallFederation, witness: Witness
) -> None:
    sites = federation.sites
    plan = federation.write_plan("stopped-run", rounds=1, timeout_s=TIMEOUT_S, model=LARGER, **LONG)
    run_id = federation.launch(plan)
    for name in sites:
        federation.wait_for_step(name, run_id, round_number=1)
    ended = {name: log_of(role).count("no part in round 1") for name, role in sites.items()}

    ended_at: dict[str, float] = {}

    def is_over() -> bool:
        for name, role in sites.items():
            if name not in ended_at and log_of(role).count("no part in round 1") > ended[name]:
                ended_at[name] = time.time()
        return len(ended_at) == len(sites)

    with ThreadPoolExecutor(1) as pool:  # sites may be faster than the command
        command = pool.submit(federation.coordinator.run, "run", "stop", run_id)
        wait_until(is_over, NOTICED_WITHIN_S, "the end of the training")
        command.result()
    stopped_at = Coordinator.open(CoordinatorHome(federation.coordinator.home)).runs.get(run_id).finished_at
    assert stopped_at is not None
    took_s = {name: round(at - stopped_at, 1) for name, at in ended_at.items()}
    log.info("training ended %s s after the stop", took_s)
    came_to = {name: last_step(role, run_id) for name, role in sites.items()}
    shown = federation.coordinator.ask("run", "show", run_id)
    federation.coordinator.run("run", "resume", run_id)
    finished = federation.finish(run_id)

    assert max(took_s.values()) < STOPS_WITHIN_S
    assert all(number < num_steps for number, num_steps in came_to.values())
    assert shown["state"] == "stopped"
    assert finished["state"] == "finished"
    witness.reckon(run_id, rounds=1)
