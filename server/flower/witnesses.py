"""The sites' clocks, as their nodes sign them at each call: witnesses of this machine's own.

Flower compares that time with its own before anything else, and refuses a node without a word about why. Here
its check goes on as it is, and what the time was is noted beside it, of nodes that have signed it with a
registered key. Hook internal to Flower 1.41; `tests/integration/test_flower_contract.py` holds it.
"""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Collection
from datetime import datetime

import flwr.superlink.routers.fleet.node_auth as flower_check
from fastapi import HTTPException, Request
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from flwr.superlink.dependencies.linkstate import get_linkstate

from server.clock import Clock, judge
from shared.errors import StoreError

log = logging.getLogger(__name__)

LATELY_S = 60.0
"""A node whose time is refused ends, and has tried again by then."""

JUDGE_EVERY_S = 1.0


class Witnesses:
    """How far the clock of each site that has called lately is ahead of ours; safe to use from any thread."""

    def __init__(self) -> None:
        self._heard: dict[bytes, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def note(self, node_public_key: bytes, ahead_s: float) -> None:
        """A site has signed this time just now."""
        with self._lock:
            self._heard[node_public_key] = (ahead_s, time.monotonic())

    def sites_ahead_s(self) -> Collection[float]:
        """Of every site that was heard within `LATELY_S`, in seconds."""
        now = time.monotonic()
        with self._lock:
            return [ahead_s for ahead_s, heard_at in self._heard.values() if now - heard_at < LATELY_S]


def listen_to(witnesses: Witnesses) -> None:
    """Note the time of every call that reaches the Fleet API of this process."""
    check: Callable[[Request], None] = flower_check.authenticate_node

    def check_and_note(request: Request) -> None:
        try:
            check(request)
        except HTTPException:
            _note(request, witnesses)
            raise
        _note(request, witnesses)

    vars(flower_check)["authenticate_node"] = check_and_note


def _note(request: Request, witnesses: Witnesses) -> None:
    try:
        public_key, signature = (
            b64decode(request.headers[name], validate=True)
            for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
        )
        timestamp = request.headers[TIMESTAMP_HEADER]
        ahead_s = datetime.fromisoformat(timestamp).timestamp() - time.time()
        is_signed = verify_signature(bytes_to_public_key(public_key), timestamp.encode("ascii"), signature)
    except (KeyError, ValueError, TypeError):
        return
    if is_signed and get_linkstate(request).get_node_id_by_public_key(public_key) is not None:
        witnesses.note(public_key, ahead_s)


def judge_by(witnesses: Witnesses, clock: Clock) -> None:
    """Hold the clock against the witnesses from now on, in the background."""

    def follow() -> None:
        while True:
            time.sleep(JUDGE_EVERY_S)
            if (ahead_s := judge(witnesses.sites_ahead_s())) is None:
                continue
            try:
                clock.note(ahead_s, now=time.time())
            except StoreError as error:
                log.debug("the judgement waits: %s", error.message)

    threading.Thread(target=follow, name="clock", daemon=True).start()
