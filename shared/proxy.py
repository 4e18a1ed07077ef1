"""A hospital's outbound proxy (HTTP CONNECT, RFC 9110, section 9.3.6): how a site reaches the coordinator.

TLS goes through it from end to end. What is on this machine is reached without it. The environment names no
proxy here: whoever sets one for other programs must not divert ours (`forget_environment`).
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import socket
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from shared.errors import UnreachableError

_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One proxy.

    Attributes
    ----------
    credentials
        `user:password` (RFC 7617); None for a proxy that asks for none.
    """

    host: str
    port: int
    credentials: SecretStr | None = None

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"{self.host}:{self.port}"

    def url(self) -> str:
        """Its URL with the credentials: for a client library alone, never for a message."""
        if self.credentials is None:
            return f"http://{self.address}"
        user, _, password = self.credentials.get_secret_value().partition(":")
        return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{self.address}"

    def serves(self, host: str) -> bool:
        """Whether this host is reached through it."""
        return not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_safe_address(address: str) -> bool:
    """Whether nobody on the way to an address can read or change what is said: by TLS, or on this machine."""
    parts = urlsplit(address)
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def forget_environment() -> None:
    """Let no variable of the environment send this process or its children through a proxy."""
    for name in [each for each in os.environ if each.lower() in _VARIABLES]:
        del os.environ[name]


def dial(host: str, port: int, proxy: Proxy | None, *, timeout_s: float) -> socket.socket:
    """A TCP connection to a host, through the proxy if it serves that.

    Raises
    ------
    UnreachableError
        The proxy lets nobody through to there.
    OSError
        Nothing answers.
    """
    if proxy is None or not proxy.serves(host):
        return socket.create_connection((host, port), timeout=timeout_s)
    wire = socket.create_connection((proxy.host, proxy.port), timeout=timeout_s)
    try:
        _ask_through(wire, f"{host}:{port}", proxy)
    except BaseException:
        wire.close()
        raise
    return wire


def _ask_through(wire: socket.socket, target: str, proxy: Proxy) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.credentials is not None:
        basic = base64.b64encode(proxy.credentials.get_secret_value().encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {basic}")
    wire.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    reply = http.client.HTTPResponse(wire, method="CONNECT")
    try:
        reply.begin()
    except http.client.HTTPException as error:
        raise UnreachableError(
            f"What answers at {proxy.address} is no HTTP proxy.", "Correct `proxy.url` in site.toml."
        ) from error
    if reply.status == http.client.PROXY_AUTHENTICATION_REQUIRED:
        raise UnreachableError(
            f"The proxy {proxy.address} does not accept the credentials.",
            "Write `user:password` into the file that `proxy.credentials_file` in site.toml names.",
        )
    if reply.status != http.client.OK:
        raise UnreachableError(
            f"The proxy {proxy.address} does not connect to {target} (status {reply.status}).",
            f"Ask IT to let this proxy CONNECT to {target}, without TLS inspection.",
        )
