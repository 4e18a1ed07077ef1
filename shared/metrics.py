"""Figures of a running side for Prometheus, on a page that answers scrapes.

The page is plain HTTP on loopback. Elsewhere it answers over TLS 1.3 alone, and only to whoever shows a
certificate of an authority that the settings name. `prometheus_client` writes the format; nothing is pushed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.errors import ConfigError, MammofedError

PLACE = "/metrics"
MOST_AT_ONCE = 8
KEEP_ALIVE_S = 5

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure, or one for each of its labels' values; a counter's name ends in `_total`."""

    name: str
    help: str
    values: Sequence[tuple[Labels, float]]
    kind: Literal["gauge", "counter"] = "gauge"


def figure(name: str, help: str, value: float | None, **labels: str) -> Metric:
    """A gauge with one value, or none while it is not known."""
    return Metric(name=name, help=help, values=[] if value is None else [(labels, value)])


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTls:
    """How the page proves itself, and whose certificates it asks for; files of PEM."""

    key_file: Path
    chain_file: Path
    client_ca_file: Path


@contextlib.contextmanager
def metrics_page(
    read: Callable[[], Iterable[Metric]], *, listen: str, port: int, tls: MutualTls | None = None
) -> Iterator[int]:
    """Answer scrapes in a thread until the block is left.

    Parameters
    ----------
    read
        Called at each scrape.
    port
        0 lets the system choose.

    Returns
    -------
    The port.

    Raises
    ------
    ConfigError
        The address is not free, or a file of TLS cannot be used.
    """
    config = uvicorn.Config(
        _app(read, names=[listen, "127.0.0.1", "localhost"] if tls is None else ["*"]),
        access_log=False,
        log_config=None,
        log_level="warning",
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        lifespan="off",
        ws="none",
        server_header=False,
    )
    config.load()
    config.ssl = None if tls is None else _context(tls)
    with _listener(listen, port) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="metrics", daemon=True
        )
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(KEEP_ALIVE_S)


class _Collector(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        for metric in self._read():
            names = list(metric.values[0][0]) if metric.values else []
            of_kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = of_kind(metric.name, metric.help, labels=names)
            for labels, value in metric.values:
                family.add_metric([labels[name] for name in names], value)
            yield family

    def describe(self) -> Iterator[Family]:
        """Nothing beforehand: what there is shows at the first scrape."""
        return iter(())


def _app(read: Callable[[], Iterable[Metric]], *, names: Sequence[str]) -> Starlette:
    """Only under a name of this machine, so that no foreign page can be pointed here by its own name."""
    registry = CollectorRegistry()
    registry.register(_Collector(read))

    def show(_request: Request) -> Response:
        try:
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
        except MammofedError as error:  # a store that refuses for a moment
            return PlainTextResponse(error.message, status_code=503)

    return Starlette(
        routes=[Route(PLACE, show, methods=["GET"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)],
    )


def _listener(listen: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (listen, port), family=socket.AF_INET6 if ":" in listen else socket.AF_INET
        )
    except OSError as error:
        raise ConfigError(
            "The address of the metrics is not free.", "Choose another `port` in [metrics]."
        ) from error


def _context(tls: MutualTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.chain_file, tls.key_file)
        context.load_verify_locations(tls.client_ca_file)
    except OSError as error:
        raise ConfigError(
            "A certificate for the metrics cannot be used.", "Check `client_ca_file` in [metrics]: PEM."
        ) from error
    return context
