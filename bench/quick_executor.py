"""A warm process that runs the benchmark's ClientApp: `python -m bench.quick_executor ADDRESS SECRET APP`.

In place of Flower's own, which starts a process for every message.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path

import flwr.supernode.runtime.run_clientapp as flower_task
from flwr.clientapp import ClientApp
from flwr.common.constant import SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output
from httpx import TransportError

from shared.flower.pulls import pull_soon
from shared.flower.tasks import POLL_S, TaskSource


def main() -> None:
    """Take and run tasks until it is ended."""
    address, secret_file, folder = sys.argv[1:]
    pull_soon(flower_task, "pull_and_inflate_object_from_tree")
    sys.path.insert(0, folder)
    app = import_module("client_app").app
    source = TaskSource(
        address=address,
        secret_file=Path(secret_file),
        task_type=TaskType.CLIENT_APP,
        component="flwr-clientapp",
        root_certificate=None,
    )
    while True:
        try:
            token = source.acquire()
        except TransportError:  # the node is still starting
            token = None
        if token is None:
            time.sleep(POLL_S)
        else:
            _run_task(source.client_for(token), app)


def _run_task(client: RuntimeHttpClient, app: ClientApp) -> None:
    message, context, run, _bundle = pull_task_input(client)
    context.run_config = {**run.override_config}
    push_message(client, app(message=message, context=context), context)
    push_task_output(client, context, SubStatus.COMPLETED, "")
    client.close()


if __name__ == "__main__":
    main()
