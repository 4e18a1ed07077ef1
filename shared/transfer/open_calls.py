"""No member takes the listener from the others: every call that waits for its caller is counted and watched.

Each call holds a thread. Before a service sees one, it is entered in a table here, and

1. each site has at most `MAX_PER_SITE` streams and as many short calls: a further one ends its oldest, so
   that a site whose line broke is never in its own way;
2. streams leave threads free for short calls, by which members renew, decide and are told of a revocation;
3. a caller that sends or takes nothing for a while is cut off;
4. so is a site that is no member any more, whatever it is waiting for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from shared.errors import TrustError
from shared.transfer.refusals import Refusals
from shared.trust.certificates import site_id_of

logger = logging.getLogger(__name__)

MAX_PER_SITE = 4
FIRST_MESSAGE_S = 10.0
"""Until a call says what it wants."""

NEXT_MESSAGE_S = 30.0
"""Between two parts of a blob, either way; as long as a dead line takes to be noticed."""

BUSY = "busy"
"""Reason word while the streams of all sites together are at their limit: trying again helps."""

_LOOK_EVERY_S = 1.0
_KEPT_FREE = 4
"""One thread of so many is not for streams."""

NOBODY = "a caller without a certificate"
refusals = Refusals()
"""Of this process, whichever of its listeners refuses."""


def caller_of(context: grpc.ServicerContext) -> str:
    """The site that a caller's certificate names, as far as there is one."""
    try:
        (certificate_pem,) = context.auth_context().get("x509_pem_cert", [])
        return site_id_of(certificate_pem)
    except (ValueError, TrustError):
        return NOBODY


class _Call:
    """One call, and since when and for how long at most it waits for its caller."""

    def __init__(self, context: grpc.ServicerContext, *, is_stream: bool) -> None:
        self.context = context
        self.caller = caller_of(context)
        self.is_stream = is_stream
        self.is_ended = False
        self.deadline: float | None = None

    def end(self, reason: str) -> None:
        self.is_ended = True
        refusals.note(self.caller, reason, now=time.monotonic())
        self.context.cancel()

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        self.deadline = time.monotonic() + limit_s
        try:
            yield
        finally:
            self.deadline = None

    def incoming(self, messages: Iterator[Any]) -> Iterator[Any]:
        """The messages as they come."""
        limit_s = FIRST_MESSAGE_S
        while True:
            with self.waiting(limit_s):
                try:
                    message = next(messages)
                except StopIteration:
                    return
            yield message
            limit_s = NEXT_MESSAGE_S

    def outgoing(self, messages: Iterator[Any]) -> Iterator[Any]:
        """The messages as the caller takes them."""
        for message in messages:
            with self.waiting(NEXT_MESSAGE_S):
                yield message


def _is_member(_site_id: str) -> bool:
    return True


class OpenCalls(grpc.ServerInterceptor):  # type: ignore[misc]
    """Stands before every method of one listener.

    Parameters
    ----------
    num_threads
        Of the listener.
    is_active
        Whether a site is a member; asked each second for the sites that have open calls.
    """

    def __init__(self, *, num_threads: int, is_active: Callable[[str], bool] = _is_member) -> None:
        self._is_active = is_active
        self._max_streams = num_threads - max(1, num_threads // _KEPT_FREE)
        self._lock = threading.Lock()
        self._calls: list[_Call] = []
        self._is_watched = False

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The method, entered in the table while it runs."""
        handler: Any = continuation(handler_call_details)
        return None if handler is None else self._watched(handler)

    def _watched(self, handler: Any) -> grpc.RpcMethodHandler:
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        is_stream = handler.request_streaming or handler.response_streaming

        def request(call: _Call, messages: Iterator[Any]) -> Any:
            incoming = call.incoming(messages)
            if handler.request_streaming:
                return incoming
            message = next(incoming, None)
            if message is None:
                call.context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request")
            return message

        def reply(messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._entered(context, is_stream=is_stream) as call:
                return behaviour(request(call, messages), context)

        def replies(messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._entered(context, is_stream=is_stream) as call:
                yield from call.outgoing(behaviour(request(call, messages), context))

        # To gRPC each method takes a stream: it would wait for a single request itself, for ever, before any
        # of our code is asked. On the wire the two are the same.
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(replies, *codecs)
        return grpc.stream_unary_rpc_method_handler(reply, *codecs)

    @contextmanager
    def _entered(self, context: grpc.ServicerContext, *, is_stream: bool) -> Iterator[_Call]:
        call = _Call(context, is_stream=is_stream)
        with self._lock:
            is_full = is_stream and sum(each.is_stream for each in self._calls) >= self._max_streams
            like_it = [each for each in self._calls if self._crowd(each, call)]
            if not is_full or like_it:
                self._calls.append(call)
                self._see_to_watching()
        if is_full and not like_it:
            refusals.note(call.caller, BUSY, now=time.monotonic())
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, BUSY)
        if like_it and (is_full or len(like_it) >= MAX_PER_SITE):
            like_it[0].end("too many calls at one time")
        try:
            yield call
        finally:
            with self._lock:
                self._calls.remove(call)

    @staticmethod
    def _crowd(one: _Call, other: _Call) -> bool:
        return one.caller == other.caller != NOBODY and one.is_stream is other.is_stream and not one.is_ended

    def _see_to_watching(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._watch, name="open-calls", daemon=True).start()

    def _watch(self) -> None:
        """Until no call is open."""
        while True:
            time.sleep(_LOOK_EVERY_S)
            with self._lock:
                if not self._calls:
                    self._is_watched = False
                    return
                calls = [each for each in self._calls if not each.is_ended]
            try:
                self._look_at(calls)
            except Exception:
                # This thread must not end before the calls: nobody would be cut off any more, unnoticed.
                logger.exception("Looking at open calls failed")

    def _look_at(self, calls: list[_Call]) -> None:
        now = time.monotonic()
        for call in calls:
            if (deadline := call.deadline) is not None and now > deadline:
                call.end("it stood still")
        members = {each: self._is_active(each) for each in {call.caller for call in calls} - {NOBODY}}
        for call in calls:
            # A short call that computes is about to end, and tells a revoked site itself what has happened.
            if not members.get(call.caller, True) and (call.is_stream or call.deadline is not None):
                call.end("it is no member any more")
