"""How often Flower's processes at a site ask, how soon they notice a break, and when they are missed.

1. A node asks for messages after a share of the time since its last one, and less often while its questions
   are answered late (`NodeClock`): many sites at once must not keep the coordinator busy with asking.
2. They say that they are alive about twice in `HEARTBEAT_S`. An executor is missed after two of these, a node
   after two of `NODE_HEARTBEAT_S`: a line that is cut for half a minute costs its site no contribution.
3. A call that gets no answer is given up after `CALL_TIMEOUT_S` instead of 30 s, and tried again after
   `LONGEST_WAIT_S` at the latest instead of 20 s: after an outage a site is back within half a minute. A line
   that is up is kept for `IDLE_LINE_S` instead of 5 s: each new one costs the coordinator a TLS handshake.
4. A call that is answered with status 500 is tried again as well, as Flower does it with 502 to 504: stock
   Flower lets go of an answer that it was to send then, and the coordinator waits for it until the deadline.
5. A heartbeat that ends on an error takes its process with it: the stock thread ends alone, and leaves a node
   that looks alive and is offline for good.

Hooks internal to Flower 1.41; `tests/integration/test_flower_contract.py` holds them.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import flwr.supercore.retry.http_retry as flower_retry
import httpx
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.retry import constant
from flwr.supernode.fleet_http_client import FleetHttpClient

from shared.proxy import Proxy

log = logging.getLogger(__name__)

HEARTBEAT_S = 10
NODE_HEARTBEAT_S = 23
CALL_TIMEOUT_S = 10.0
LONGEST_WAIT_S = 3
IDLE_LINE_S = 60.0
"""How long a line is kept for the next call; the coordinator keeps it longer, so no call meets its end."""

SHORTEST_PAUSE_S = 0.05
SHARE_OF_IDLE = 0.05
"""Waiting grows by a twentieth at most; sites that wait for a minute ask as seldom as stock Flower's."""

TIMES_THE_DELAY, NUM_DELAYS = 30.0, 3
"""A node rests so many times as long as answers are delayed, by the least of so many: one means nothing.

Of many nodes that wait for a busy coordinator all but a thirtieth rest then.
"""

FLOWERS_IDLE_PAUSE_S = 3.0
"""What the node's loop sleeps when there was no message; it sleeps shorter while one is worked on."""


def quicken(*modules: ModuleType, interval_s: int = HEARTBEAT_S) -> None:
    """Let these modules of Flower, in this process, send, expect or announce a heartbeat in each interval."""
    for module in modules:
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = interval_s


def pause_after(idle_s: float) -> float:
    """Seconds until a node asks again that has had no message for so long."""
    return min(FLOWERS_IDLE_PAUSE_S, max(SHORTEST_PAUSE_S, SHARE_OF_IDLE * idle_s))


class NodeClock:
    """The `time` of Flower's node loop, which uses of it nothing but `sleep`."""

    def __init__(self) -> None:
        self._busy_at = time.monotonic()
        self._asks_since: float | None = None
        self._quickest_s = math.inf
        self._lately_s: deque[float] = deque(maxlen=NUM_DELAYS)

    def sleep(self, seconds: float) -> None:
        """Sleep shorter than asked: a share of the time since the last message, least within one.

        Between two long sleeps there is one question for messages. What it takes longer than the quickest one
        is the coordinator's delay, however long the line is.
        """
        now, delay_s = time.monotonic(), 0.0
        if seconds < FLOWERS_IDLE_PAUSE_S:
            self._busy_at = now
        elif self._asks_since is not None:
            self._lately_s.append(now - self._asks_since)
            self._quickest_s = min(self._quickest_s, self._lately_s[-1])
            if len(self._lately_s) == NUM_DELAYS:
                delay_s = min(self._lately_s) - self._quickest_s
        time.sleep(min(seconds, max(pause_after(now - self._busy_at), TIMES_THE_DELAY * delay_s)))
        self._asks_since = time.monotonic() if seconds >= FLOWERS_IDLE_PAUSE_S else None


def try_again() -> None:
    """Let this process try a failed call again, an internal error of the server included, and soon."""
    vars(flower_retry)["MAX_RETRY_DELAY"] = LONGEST_WAIT_S
    vars(flower_retry)["_RETRYABLE_STATUS_CODES"] |= {HTTPStatus.INTERNAL_SERVER_ERROR}


def fleet_client_through(proxy: Proxy | None) -> type[FleetHttpClient]:
    """A client that gives a call up which gets no answer within `CALL_TIMEOUT_S`; control messages are small.

    The stock one takes a proxy from the environment, if at all.
    """

    class BriefFleetClient(FleetHttpClient):
        def __init__(self, base_url: str, **settings: Any) -> None:
            super().__init__(base_url, **settings)
            host = urlsplit(base_url).hostname or ""
            self._client.close()
            self._client = httpx.Client(
                verify=settings["verify"],
                timeout=CALL_TIMEOUT_S,
                follow_redirects=False,
                proxy=proxy.url() if proxy is not None and proxy.serves(host) else None,
                trust_env=False,
                limits=httpx.Limits(keepalive_expiry=IDLE_LINE_S),
            )

    return BriefFleetClient


class FatalHeartbeats(HeartbeatSender):
    """Tries a failed heartbeat again each second; ends the process when the heartbeats end on an error."""

    def __init__(self, heartbeat_fn: Callable[[], bool]) -> None:
        super().__init__(heartbeat_fn)
        self._retry_invoker.wait_gen_factory = constant

    def _run(self) -> None:
        try:
            super()._run()
        except Exception:
            # Whatever it was: this node would be offline from now on.
            log.exception("the heartbeats ended")
            os._exit(1)
