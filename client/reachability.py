"""Whether the coordinator's listeners can be reached from here, and the firewall's rule that lets them be."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from shared.errors import UnreachableError
from shared.proxy import Proxy
from shared.trust.tls import check_listener, join_address, split_address

CONNECT_TIMEOUT_S = 5.0


def reach(address: str, *, roots_pem: Sequence[bytes], proxy: Proxy | None) -> str:
    """Shake hands with a listener over TLS 1.3; returns what was found, in words.

    Raises
    ------
    UnreachableError
        The name is not known, nothing answers, or not in TLS 1.3; the hint is the firewall's rule.
    TrustError
        What answers is not of the federation, or not at this time; see `shared.trust.tls.check_listener`.
    """
    host, port = split_address(address)
    try:
        check_listener(host, port, roots_pem=roots_pem, proxy=proxy, timeout_s=CONNECT_TIMEOUT_S)
    except UnreachableError as error:
        if isinstance(error.__cause__, socket.gaierror):
            raise UnreachableError(
                f"The name of {address} is not known here.", f"Let this computer's DNS resolve {host}."
            ) from error
        if isinstance(error.__cause__, OSError):
            raise UnreachableError(
                f"{address} does not answer{_through(host, proxy)}",
                f"Firewall: {firewall_rule(address, proxy)}. If that is so already, ask the coordinator.",
            ) from error
        raise
    return f"{address} answers as the coordinator, with TLS from end to end{_through(host, proxy)}"


def firewall_rule(address: str, proxy: Proxy | None) -> str:
    """What a firewall or a proxy must let through, from this very computer, on one line."""
    host, port = split_address(address)
    if proxy is not None and proxy.serves(host):
        return (
            f"let {own_address(proxy.host, proxy.port)} connect out to TCP {proxy.address}, and that proxy "
            f"CONNECT to {join_address(host, port)}, without TLS inspection"
        )
    known = ", ".join(addresses_of(host, port))
    where = host if known in {"", host} else f"{host} ({known})"
    return f"allow outbound TCP from {own_address(host, port)} to {where} port {port}, without TLS inspection"


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses of a host as this computer resolves it; none if it does not."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def own_address(host: str, port: int) -> str:
    """This computer's address on the way to a host, as its routes have it; nothing is sent."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return "this computer"


def _through(host: str, proxy: Proxy | None) -> str:
    return f" (by the proxy {proxy.address})" if proxy is not None and proxy.serves(host) else ""
