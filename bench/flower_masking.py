"""Flower's legacy SecAgg+ in one process, for `bench.masking` to measure beside ours.

The workflow of its server and the mod of its clients are Flower's own; between them stands a grid that hands
messages over and keeps the time. Nodes that leave do so after they have shared their secrets, as in
`bench.masking`. What is passed on are references: nothing is encoded for a network, on either side.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common.recorddict_compat import fitres_to_recorddict, parameters_to_arrayrecord
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

MEGA = 1_000_000
SCALE = 900 / 2**15
"""Of an update's values: the integers of `bench.masking` as reals."""
ERROR_BOUND = 1e-3
"""By its rounding to 2**22 steps between -8 and 8, of a mean."""
BYTES_PER_VALUE = 8
"""Flower masks with int64 and sends that."""
COPIES = 3
"""Of every site's upload, that are in memory at once, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerCost:
    """Of one round; seconds of a site are those of the slowest, bytes those of one site."""

    masked_bytes: int
    messages_bytes: int
    site_masked_s: float
    sum_masked_s: float
    unmask_s: float
    peak_mb: float


def gigabytes(num_values: int, num_sites: int) -> float:
    """Memory that a round in one process takes, about."""
    return 1e-9 * COPIES * BYTES_PER_VALUE * num_values * num_sites


def measure_flower(
    *, num_values: int, num_sites: int, num_leaving: int, neighbours: int | None
) -> FlowerCost:
    """One round of Flower's legacy SecAgg+, whose mean is compared with the plain one.

    Raises
    ------
    AssertionError
        The round has failed, or its mean is another one.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 0, 0, 0
    grid = TimedGrid(num_values=num_values, num_sites=num_sites, num_leaving=num_leaving)
    context = LegacyContext(
        context=Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={}),
        strategy=_EveryNode(grid),
        client_manager=SimpleClientManager(),
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    nothing = ndarrays_to_parameters([np.zeros(1, np.float32)])
    context.state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(nothing, keep_input=True)
    holders = num_sites if neighbours is None else min(neighbours, num_sites - 1) // 2 * 2 + 1
    # Its threshold counts shares: the fewest with 2t > n, as ours; 1.0 is a share for each site.
    workflow = SecAggPlusWorkflow(
        num_shares=1.0 if neighbours is None else holders,
        reconstruction_threshold=(holders // 2 + 1) / holders,
        max_weight=1.0,
    )
    workflow(grid, context)
    ended = time.perf_counter()
    (mean,) = parameters_to_ndarrays(
        Parameters(
            tensors=[each.data for each in context.state.array_records[MAIN_PARAMS_RECORD].values()],
            tensor_type="numpy.ndarray",
        )
    )
    grid.assert_mean(mean)
    return FlowerCost(
        masked_bytes=grid.masked_bytes,
        messages_bytes=grid.messages_bytes // num_sites,
        site_masked_s=max(grid.site_s.values()),
        sum_masked_s=grid.asked_at[3] - grid.answered_at[2],
        unmask_s=ended - grid.answered_at[3],
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    )


class TimedGrid(Grid):
    """Hands messages to nodes in this process, one after the other, and keeps the time.

    Attributes
    ----------
    asked_at, answered_at
        When each exchange began and ended, by `time.perf_counter`.
    site_s
        Seconds of each node so far.
    """

    def __init__(self, *, num_values: int, num_sites: int, num_leaving: int) -> None:
        self._num_values, self._leaving = num_values, set(range(num_sites - num_leaving + 1, num_sites + 1))
        self._contexts = {
            node: Context(run_id=0, node_id=node, node_config={}, state=RecordDict(), run_config={})
            for node in range(1, num_sites + 1)
        }
        self.site_s = dict.fromkeys(self._contexts, 0.0)
        self.asked_at: list[float] = []
        self.answered_at: list[float] = []
        self.masked_bytes = 0
        self.messages_bytes = 0

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """The nodes' replies."""
        self.asked_at.append(time.perf_counter())
        replies = [self._reply(message) for message in messages]
        self.answered_at.append(time.perf_counter())
        return replies

    def assert_mean(self, mean: NDArray[Any]) -> None:
        """Hold a mean against that of the updates of those who stayed."""
        staying = [node for node in self._contexts if node not in self._leaving]
        # The first values say enough.
        expected = np.mean([self._update(node, size=min(self._num_values, MEGA)) for node in staying], axis=0)
        assert np.abs(mean[: expected.size] - expected).max() < ERROR_BOUND

    def _reply(self, message: Message) -> Message:
        node, asked = message.metadata.dst_node_id, message.content.config_records[RECORD_KEY_CONFIGS]
        is_masking = asked[Key.STAGE] == Stage.COLLECT_MASKED_VECTORS
        if is_masking and node in self._leaving:
            return Message(Error(code=0, reason="has left"), reply_to=message)
        self.messages_bytes += _size(asked)
        began = time.perf_counter()
        made_s = 0.0

        def train(asked: Message, _context: Context) -> Message:
            nonlocal made_s
            before = time.perf_counter()
            result = self._result(node, asked)
            made_s = time.perf_counter() - before
            return result

        reply = secaggplus_mod(_own_copy(message), self._contexts[node], train)
        self.site_s[node] += time.perf_counter() - began - made_s
        told = reply.content.config_records[RECORD_KEY_CONFIGS]
        if is_masking:
            self.masked_bytes = _size(told)
        else:
            self.messages_bytes += _size(told)
        return reply

    def _result(self, node: int, asked: Message) -> Message:
        """What a client's training gives its mod: float32 values and a count."""
        result = FitRes(
            status=Status(code=Code.OK, message=""),
            parameters=ndarrays_to_parameters([self._update(node, size=self._num_values)]),
            num_examples=1,
            metrics={},
        )
        return Message(fitres_to_recorddict(result, keep_input=False), reply_to=asked)

    def _update(self, node: int, *, size: int) -> NDArray[np.float32]:
        return np.random.default_rng(node).standard_normal(size, np.float32) * np.float32(SCALE)

    def set_run(self, run: Run) -> None:
        """There is one run."""
        raise NotImplementedError

    @property
    def run(self) -> Run:
        """There is one run."""
        raise NotImplementedError

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Of the deprecated way to make one."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterator[int]:
        """All of them."""
        return iter(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Messages go by `send_and_receive` alone."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Messages go by `send_and_receive` alone."""
        raise NotImplementedError


class _EveryNode(FedAvg):
    """Asks every node, and takes the mean as the workflow has made it."""

    def __init__(self, grid: TimedGrid) -> None:
        super().__init__()
        self._grid = grid

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: Any
    ) -> list[tuple[Any, FitIns]]:
        """Nobody is left out."""
        return [
            (GridClientProxy(node, self._grid, 0), FitIns(parameters, {}))
            for node in self._grid.get_node_ids()
        ]

    def aggregate_fit(
        self, server_round: int, results: list[Any], failures: list[Any]
    ) -> tuple[Parameters | None, dict[str, Any]]:
        """All results hold the mean."""
        return results[0][1].parameters, {}


def _own_copy(message: Message) -> Message:
    """A message as it arrives: the mod takes apart what it is given."""
    content = RecordDict(dict(message.content.items()))
    for name, config in message.content.config_records.items():
        content.config_records[name] = ConfigRecord(dict(config))
    copy = Message(content, message.metadata.dst_node_id, message.metadata.message_type)
    copy.metadata.__dict__.update(message.metadata.__dict__)
    return copy


def _size(record: Any) -> int:
    """Bytes of what a record holds: what a network must carry at the least."""
    return sum(_bytes_of(value) for value in record.values())


def _bytes_of(value: Any) -> int:
    if isinstance(value, bytes | str):
        return len(value)
    return sum(map(_bytes_of, value)) if isinstance(value, list) else BYTES_PER_VALUE
