"""The process that runs rounds: it takes a run's server task from Flower and runs our own code on it.

Flower's launcher would unpack the submitted bundle and import from it. The runner never looks into the
bundle: the task only says which run of our store is meant.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import flwr.superlink.grid.http_grid as flower_grid
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import PullTaskInputRequest, PushTaskOutputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid
from httpx import HTTPError

from server.channel import SiteChannel
from server.coordinator import Coordinator
from server.flower.channel import GridChannel
from server.flower.control import Control
from server.home import LOOPBACK, CoordinatorHome
from server.launching import may_begin
from server.lifecycle import RunState
from server.rounds import is_of_this_machine, run_rounds
from shared.errors import ClockError, MammofedError, StoreError
from shared.flower.bundle import RUN_SETTING
from shared.flower.pulls import pull_soon
from shared.flower.tasks import POLL_S, TaskSource
from shared.supervision import Pulse, follow_supervisor
from shared.terminal import log_to_standard_error

log = logging.getLogger(__name__)

STARTUP_TIMEOUT_S = 60.0
IDLE_S = 60.0
COMPUTING_S = 900.0
"""The longest that a run may be between two looks at its sites: an aggregate of a very large model."""

RETRY_S = 10.0


def serve(home: CoordinatorHome, pulse: Pulse) -> None:
    """Take and run server tasks, one at a time, until told to stop.

    Runs that an earlier process left unfinished are handed to Flower again first: they go on from their last
    checkpoint. Runs that still wait for approvals are handed over once they have them. If Flower's APIs fail
    in the middle of a run, this process ends, and its successor does that.

    Raises
    ------
    httpx.HTTPError
        Flower's Runtime API failed.
    """
    coordinator = Coordinator.open(home)
    control = Control(home)
    if control.wait_until_up(STARTUP_TIMEOUT_S):
        for run in coordinator.runs.unfinished():
            if may_begin(run, coordinator):
                control.start_run(run.run_id)
    address = f"{LOOPBACK}:{home.settings().control_port}"
    root = home.root_certificate_file.read_bytes()
    source = TaskSource(
        address=address,
        secret_file=home.runtime_secret_file,
        task_type=TaskType.SERVER_APP,
        component="flwr-serverapp",
        root_certificate=root,
    )
    while True:
        pulse.expect(IDLE_S)
        token = source.acquire()
        if token is None:
            time.sleep(POLL_S)
            continue
        grid = HttpGrid(runtime_api_address=address, insecure=False, root_certificates=root, token=token)
        try:
            _run_task(grid, source.client_for(token), coordinator, pulse)
        finally:
            grid.close()


def _run_task(grid: HttpGrid, client: RuntimeHttpClient, coordinator: Coordinator, pulse: Pulse) -> None:
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    status, details = SubStatus.FAILED, "see the coordinator's log"
    try:
        task = client.PullTaskInput(PullTaskInputRequest())
        run = run_from_proto(task.run)
        TaskIdentity.task_id, TaskIdentity.run_id = task.task_id, run.run_id
        TaskIdentity.node_id = task.context.node_id
        grid.set_run(run)
        channel = GridChannel(grid, on_call=lambda: pulse.expect(COMPUTING_S))
        carry_through(str(run.override_config[RUN_SETTING]), channel, coordinator)
        status, details = SubStatus.COMPLETED, ""
    finally:
        # First: a heartbeat for a task that is over makes Flower interrupt this process.
        if heartbeat.is_running:
            heartbeat.stop()
        client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))
        client.close()


def carry_through(run_id: str, channel: SiteChannel, coordinator: Coordinator) -> None:
    """Carry a run on until it is over, however often the store or its disk refuse, or the clock is wrong.

    That is this machine's fault and not the run's: it is said, and the run goes on from its last checkpoint
    when the fault is gone.
    """
    while True:
        try:
            _carry_on(run_id, channel, coordinator)
        except (StoreError, ClockError) as error:
            log.error("the run waits: %s %s", error.message, error.hint)
            time.sleep(RETRY_S)
            channel.online()  # the way to the sites must be there still, and the pulse must go on
        else:
            return


def _carry_on(run_id: str, channel: SiteChannel, coordinator: Coordinator) -> None:
    try:
        run_rounds(run_id, channel, coordinator)
    except MammofedError as error:
        if is_of_this_machine(error):
            raise
        log.error("%s %s", error.message, error.hint)
    except HTTPError:
        raise
    except Exception as error:
        # A fault of ours would only come again: end the run instead of beginning it anew for ever.
        log.exception("the run failed on an internal error")
        failure = f"Internal error ({type(error).__name__}); see the coordinator's runner.log."
        coordinator.runs.move(run_id, RunState.FAILED, at=time.time(), failure=failure)


if __name__ == "__main__":
    follow_supervisor()
    log_to_standard_error()
    own_pulse = Pulse()
    own_pulse.start()
    pull_soon(flower_grid, "pull_objects")
    serve(CoordinatorHome(Path(sys.argv[1])), own_pulse)
