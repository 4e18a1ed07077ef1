"""The process that computes at a site: it takes tasks from the SuperNode and runs the installed app.

Flower's own launcher would unpack the bundle that came with a run and import from it. The executor compares
the SHA-256 of the bundle's content with the site's list and never opens it. It stays alive between messages
and keeps torch, the data and the network warm.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import flwr.supercore.heartbeat as flower_heartbeat
import flwr.supernode.runtime.run_clientapp as flower_task
import torch
from flwr.app import Context, Message
from flwr.app.error import Error
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
from httpx import HTTPError, TransportError

from client.flower.app import make_app, make_refusing_app
from client.flower.pace import quicken, try_again
from client.home import LOOPBACK, SiteHome
from client.policy.reading import read_policy
from client.workplace import catch_up, follow_membership, open_workplace
from shared.errors import MammofedError, PolicyFileError, StoreError
from shared.flower.bundle import bundle_sha256
from shared.flower.pulls import pull_soon
from shared.flower.tasks import POLL_S, TaskSource
from shared.supervision import Pulse, follow_supervisor
from shared.terminal import log_to_standard_error

log = logging.getLogger(__name__)

IDLE_S = 60.0
"""A look for a task, with its calls' own limits, is over by then."""

CUBLAS_WORKSPACES = ":4096:8"
"""Without a fixed size of these cuBLAS refuses to compute reproducibly."""

FULL_DISK_PAUSE_S = 3.0
"""Between two tries to write into the ledger."""

OVERTIME_S = 60.0
"""What a task may take beyond the time in which its answer is of use."""


def serve(home: SiteHome, runtime_port: int, pulse: Pulse) -> None:
    """Take and run tasks, one at a time, until told to stop.

    A membership that was renewed is followed between tasks: a task ends with the keys that it began with. The
    pulse stops for a task that goes on when nobody waits for its answer any more: it hangs.
    """
    workplace = open_workplace(home)
    app = make_app(workplace, lambda: catch_up(workplace, home))
    refusing_app = make_refusing_app(workplace)
    source = TaskSource(
        address=f"{LOOPBACK}:{runtime_port}",
        secret_file=home.runtime_secret_file,
        task_type=TaskType.CLIENT_APP,
        component="flwr-clientapp",
        root_certificate=None,
    )
    log.info("ready")
    while True:
        pulse.expect(IDLE_S)
        token = _acquire(source)
        if token is None:
            time.sleep(POLL_S)
            continue
        follow_membership(workplace, home)
        _run_task(
            source.client_for(token),
            lambda sha256: app if is_approved(home, sha256) else refusing_app,
            workplace.egress.release_failure,
            pulse,
        )


def _acquire(source: TaskSource) -> str | None:
    try:
        return source.acquire()
    except TransportError:  # the SuperNode is being started again
        return None


def is_approved(home: SiteHome, bundle_sha256: str) -> bool:
    """Whether a bundle is on the policy's list, or on the site's own where the policy has none.

    Both are read for every task, so that a change takes effect at once. Under a policy that cannot be read
    the app itself refuses everything, and says so.
    """
    try:
        listed = read_policy(home.policy_file).allow.bundles
    except PolicyFileError:
        listed = None
    return bundle_sha256 in (home.approved_bundles() if listed is None else listed)


def _run_task(
    client: RuntimeHttpClient,
    app_for: Callable[[str], ClientApp],
    release_failure: Callable[[str], None],
    pulse: Pulse,
) -> None:
    """Take one task through; `app_for` chooses the app by the SHA-256 of the bundle, which stays unopened."""
    heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
    heartbeat.start()
    try:
        message, context, _run, bundle = pull_task_input(client)
        pulse.expect(message.metadata.ttl + OVERTIME_S)
        reply = answer(app_for(bundle_sha256(bundle.content)), message, context)
        if reply.has_error():
            _release(release_failure, reply.error.reason or "", pulse)
        push_message(client, reply, context)
        # First: a heartbeat for a task that is over makes Flower interrupt this process.
        heartbeat.stop()
        status = SubStatus.FAILED if reply.has_error() else SubStatus.COMPLETED
        push_task_output(client, context, status, "")
    except HTTPError as error:
        # A task is over only with its answer, for which the SuperNode would wait for ever. One without
        # heartbeats it answers by itself.
        log.error("the SuperNode does not answer: %s", type(error).__name__)
    finally:
        if heartbeat.is_running:
            heartbeat.stop()
        client.close()


def _release(release_failure: Callable[[str], None], reason: str, pulse: Pulse) -> None:
    """Write a failure into the ledger, however long its disk refuses: what is not in there does not leave.

    Until then this site says nothing, and its SuperNode, which passes on one answer after another, waits.
    """
    is_told = False
    while True:
        try:
            release_failure(reason)
        except StoreError as error:
            if not is_told:
                log.error("%s %s", error.message, error.hint)
            is_told = True
            pulse.expect(IDLE_S)
            time.sleep(FULL_DISK_PAUSE_S)
        else:
            return


def answer(app: ClientApp, message: Message, context: Context) -> Message:
    """The app's reply; of an error only its type leaves the site, for its text may hold anything."""
    try:
        return app(message=message, context=context)
    except Exception as error:
        if isinstance(error, MammofedError):
            log.error("%s %s", error.message, error.hint)
        else:
            log.exception("the app failed")
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__), reply_to=message)


if __name__ == "__main__":
    follow_supervisor()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACES)
    site_pulse = Pulse()
    site_pulse.start()
    quicken(flower_heartbeat)
    pull_soon(flower_task, "pull_and_inflate_object_from_tree")
    try_again()
    log_to_standard_error()
    site_home = SiteHome(Path(sys.argv[1]))
    if threads := site_home.settings().threads:
        torch.set_num_threads(threads)
    serve(site_home, int(sys.argv[2]), site_pulse)
