"""Sends traces of runs to a collector that the settings name (OpenTelemetry, OTLP over HTTP).

Nothing waits for it: attempts are read from the store after they were closed, so that a collector that is
away costs no round anything. What it did not take is sent again, and after a new start what was closed in the
last hour; spans have the same ids then.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.monitoring.settings import TracesSettings
from server.monitoring.spans import Gathering, Span, span_of_run, spans_of_attempt
from server.store.closed_attempts import ClosedAttempt
from server.summary import names_of
from shared.errors import MammofedError
from shared.files import read_secret_line

log = logging.getLogger(__name__)

EVERY_S = 5.0
BACK_S = 3600.0
TIMEOUT_S = 10.0
MOST_AT_ONCE = 200
MOST_KEPT = 50_000
"""Spans that wait for a collector."""


class Traces:
    """Reads, puts together and sends, one time after the other.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.

    Raises
    ------
    ConfigError
        The token of the collector cannot be read.
    """

    def __init__(
        self,
        settings: TracesSettings,
        home: CoordinatorHome,
        coordinator: Coordinator,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._coordinator = coordinator
        self._made = _Made(_exporter(settings, home))
        self._gathering = Gathering()
        self._since = clock() - BACK_S
        self._seen: set[tuple[object, ...]] = set()
        self._runs_told: set[str] = set()
        self._begun_at = self._since

    def look(self) -> bool:
        """Once; returns whether the collector has taken everything that there is. Raises StoreError."""
        closed = self._coordinator.closed_attempts.closed_since(self._since, at_most=MOST_AT_ONCE)
        new = [each for each in closed if _key_of(each) not in self._seen]
        if closed:
            self._since = closed[-1].closed_at
            # Others may be closed at the very same moment.
            self._seen = {_key_of(each) for each in closed if each.closed_at >= self._since}
        names = names_of(self._coordinator)
        for phases in self._gathering.add(new):
            self._made.add(spans_of_attempt(phases, names))
        for run in self._coordinator.runs.all():
            span = span_of_run(run)
            if span is not None and span.ended_at >= self._begun_at and run.run_id not in self._runs_told:
                self._runs_told.add(run.run_id)
                self._made.add([span])
        return self._made.send()


class _Made(IdGenerator, SpanProcessor):
    """Spans as the library has them, under ids that follow from their keys, until they are taken."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._next = ("", "")
        self._kept: list[ReadableSpan] = []
        resource = Resource({"service.name": "mammofed-coordinator", "service.version": version("mammofed")})
        provider = TracerProvider(
            resource=resource, id_generator=self, sampler=ALWAYS_ON, shutdown_on_exit=False
        )
        provider.add_span_processor(self)
        self._tracer = provider.get_tracer("mammofed")

    def add(self, spans: Sequence[Span]) -> None:
        """Keep spans until they are sent; of too many the oldest are lost."""
        for each in spans:
            self._next = each.trace, each.key
            made = self._tracer.start_span(
                each.name,
                context=None if each.parent is None else _within(each.trace, each.parent),
                attributes=each.attributes,
                start_time=_nanoseconds(each.started_at),
            )
            made.set_status(trace.StatusCode.ERROR if each.is_failed else trace.StatusCode.OK)
            made.end(_nanoseconds(each.ended_at))
        del self._kept[:-MOST_KEPT]

    def send(self) -> bool:
        """Give the collector what is kept; returns whether it has taken all of it."""
        while self._kept:
            some = self._kept[:MOST_AT_ONCE]
            if self._exporter.export(some) is not SpanExportResult.SUCCESS:
                return False
            del self._kept[: len(some)]
        return True

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the library."""
        self._kept.append(span)

    def generate_span_id(self) -> int:
        """Called by the library."""
        return _span_id(self._next[1])

    def generate_trace_id(self) -> int:
        """Called by the library."""
        return _trace_id(self._next[0])


def _exporter(settings: TracesSettings, home: CoordinatorHome) -> OTLPSpanExporter:
    headers = {}
    if settings.token_file is not None:
        token = read_secret_line(
            home.folder / settings.token_file,
            what="the token of the collector",
            setting="`token_file` of [traces]",
        )
        headers["authorization"] = f"Bearer {token}"
    return OTLPSpanExporter(
        endpoint=settings.endpoint,
        certificate_file=None if settings.ca_file is None else str(home.folder / settings.ca_file),
        headers=headers,
        timeout=TIMEOUT_S,
        compression=Compression.Gzip,
    )


def _within(trace_key: str, key: str) -> Context:
    context = trace.SpanContext(
        trace_id=_trace_id(trace_key),
        span_id=_span_id(key),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


def _trace_id(key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"trace {key}".encode()).digest()[:16])


def _span_id(key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"span {key}".encode()).digest()[:8])


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)


def _key_of(attempt: ClosedAttempt) -> tuple[object, ...]:
    return attempt.run_id, attempt.number, attempt.attempt, attempt.phase


@contextlib.contextmanager
def sending(traces: Traces) -> Iterator[None]:
    """Look every `EVERY_S` seconds, in a thread, for the time of the block."""
    done = threading.Event()

    def keep_up() -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is wrong is said here, once
        said = ""
        while not done.wait(EVERY_S):
            try:
                trouble = "" if traces.look() else "The collector of traces does not take them."
            except MammofedError as error:
                trouble = f"{error.message} {error.hint}"
            except Exception:
                # This thread must not end: no trace would be sent any more, unnoticed.
                log.exception("Sending traces failed")
                continue
            if trouble and trouble != said:
                log.error("%s", trouble)
            said = trouble

    thread = threading.Thread(target=keep_up, name="traces", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
