"""How long a transfer tries again after a broken connection, what ends it for good, and how it is stopped."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from shared.errors import MammofedError, NotFoundError, TransferError, TrustError
from shared.transfer.rpc import STORAGE, rejects_certificate

_STOP_POLL_S = 0.1

_FINAL: dict[grpc.StatusCode, tuple[type[MammofedError], str, str]] = {
    grpc.StatusCode.PERMISSION_DENIED: (
        TransferError,
        "The coordinator does not let this site move this blob.",
        "Ask the coordinator whether the site is still enrolled and part of the run.",
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        TrustError,
        "The coordinator does not accept this site's certificate.",
        "Enrol the site again.",
    ),
    grpc.StatusCode.NOT_FOUND: (
        NotFoundError,
        "The coordinator does not have this blob.",
        "Ask it for a current reference.",
    ),
    grpc.StatusCode.INVALID_ARGUMENT: (
        TransferError,
        "The coordinator could not read the request.",
        "Check that both sides run the same version of mammofed.",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        TransferError,
        "The server at the coordinator's address does not move blobs.",
        "Check the address, and that both sides run the same version of mammofed.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When to try again.

    Attributes
    ----------
    patience_s
        Give up after so long without one new byte.
    first_delay_s
        Longest wait before the second attempt; doubles with each fruitless one.
    max_delay_s
        Longest wait of all.
    """

    patience_s: float = 120.0
    first_delay_s: float = 0.2
    max_delay_s: float = 10.0


class Patience:
    """What is left of it during one transfer."""

    def __init__(self, policy: RetryPolicy, should_stop: Callable[[], bool]) -> None:
        self._policy = policy
        self._should_stop = should_stop
        self._jitter = random.SystemRandom()
        self.renew()

    def renew(self) -> None:
        """New bytes have arrived: start counting afresh."""
        self._fruitless = 0
        self._deadline = time.monotonic() + self._policy.patience_s

    def wait_after(self, error: grpc.RpcError) -> None:
        """Wait before the next attempt, between half and all of the current delay.

        Raises
        ------
        TransferError
            No attempt can succeed, patience is at its end, or the caller wants to stop.
        TrustError
            One of the two does not accept the other's certificate.
        NotFoundError
            The blob is gone.
        """
        final = _final_error(error)
        if final is not None:
            raise final from error
        self.spend(error)

    def spend(self, error: Exception) -> None:
        """Wait as after any error that another attempt may cure."""
        longest = min(self._policy.first_delay_s * 2**self._fruitless, self._policy.max_delay_s)
        self._fruitless += 1
        delay_s = longest * self._jitter.uniform(0.5, 1.0)
        if time.monotonic() + delay_s > self._deadline:
            raise TransferError(
                "The connection to the coordinator keeps breaking or cannot be made.",
                "Check the network and that the coordinator is running; what has arrived is kept.",
            ) from error
        self.pause(delay_s)

    def pause(self, seconds: float) -> None:
        """Sleep, but not past a wish to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check_stop()
            time.sleep(min(left, _STOP_POLL_S))
        self.check_stop()

    def check_stop(self) -> None:
        """Raise TransferError if the caller wants to stop."""
        if self._should_stop():
            raise TransferError("The transfer was stopped.", "Start it again; what has arrived is kept.")

    @contextmanager
    def cancelling(self, call: grpc.RpcContext) -> Iterator[None]:
        """Cancel the call as soon as the caller wants to stop, even while it waits for the network."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_STOP_POLL_S):
                if self._should_stop():
                    call.cancel()
                    return

        watcher = threading.Thread(target=watch, name="transfer-stop", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            call.cancel()
            watcher.join()


def _final_error(error: grpc.RpcError) -> MammofedError | None:
    """What the person should know if another attempt cannot help."""
    code = error.code()
    if rejects_certificate(error):
        return TrustError(
            "The server's certificate is not of this federation, not for this host, or out of date.",
            "Check the address, this computer's clock, and for a TLS-inspecting proxy in between.",
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.details() == STORAGE:
        return TransferError(
            "The coordinator cannot store the blob.", "Tell the coordinator that its disk is full or failing."
        )
    if code in _FINAL:
        kind, message, hint = _FINAL[code]
        return kind(message, hint)
    return None
