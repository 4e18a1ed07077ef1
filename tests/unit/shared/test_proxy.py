"""The way through an outbound proxy: what is asked, what is answered, and what the person is told."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from shared.errors import UnreachableError
from shared.proxy import Proxy, dial, forget_environment

TARGET, PORT = "coordinator.example", 443
PASSWORD = "p@ss:word"


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that gives one answer, then sends back what it gets."""
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as wire:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += wire.recv(4096)
            asked.append(request)
            wire.sendall(answer)
            if b" 200 " in answer:
                wire.sendall(wire.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join(5)


def proxy_at(port: int, credentials: str | None = f"hospital:{PASSWORD}") -> Proxy:
    secret = SecretStr(credentials) if credentials else None
    return Proxy(host="127.0.0.1", port=port, credentials=secret)


def test_the_line_is_open_after_the_proxy_has_agreed() -> None:
    with (
        answering(b"HTTP/1.1 200 Connection established\r\n\r\n") as (port, asked),
        dial(TARGET, PORT, proxy_at(port), timeout_s=5) as wire,
    ):
        wire.sendall(b"hello")
        assert wire.recv(4096) == b"hello"

    basic = base64.b64encode(f"hospital:{PASSWORD}".encode()).decode()
    assert asked[0].decode().splitlines() == [
        "CONNECT coordinator.example:443 HTTP/1.1",
        "Host: coordinator.example:443",
        f"Proxy-Authorization: Basic {basic}",
        "",
    ]


def test_without_credentials_none_are_sent() -> None:
    with (
        answering(b"HTTP/1.0 200 OK\r\n\r\n") as (port, asked),
        dial(TARGET, PORT, proxy_at(port, None), timeout_s=5) as wire,
    ):
        wire.sendall(b"x")
        wire.recv(1)

    assert b"Authorization" not in asked[0]


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "does not accept the credentials",
            "user:pass",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not connect to coordinator.example:443", "without TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "is no HTTP proxy", "proxy.url"),
    ],
)
def test_a_refusal_names_what_to_ask_for_and_no_password(answer: bytes, message: str, hint: str) -> None:
    with answering(answer) as (port, _), pytest.raises(UnreachableError) as refused:
        dial(TARGET, PORT, proxy_at(port), timeout_s=5)

    assert message in refused.value.message
    assert hint in refused.value.hint
    assert PASSWORD not in refused.value.message + refused.value.hint


def test_this_machine_is_dialled_without_the_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = Proxy(host="127.0.0.1", port=9)

        dial("127.0.0.1", listener.getsockname()[1], nobody, timeout_s=5).close()


def test_the_environment_names_no_proxy_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "grpc_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://hospital:secret@proxy.example:3128")

    forget_environment()

    assert not [name for name in os.environ if name.lower().endswith("_proxy") and name.lower() != "no_proxy"]
