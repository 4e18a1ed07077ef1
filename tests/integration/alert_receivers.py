"""A real mail server and a real receiver of webhooks, on loopback, under an authority of their own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from deploy.demo.federation import free_ports
from shared.files import write_file
from shared.trust.issuing import Issuer, new_root, new_server_certificate, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr

USER, PASSWORD = "mammofed", "the mail server's password"


@dataclass(frozen=True, slots=True)
class Authority:
    """Certificates for this machine, in files: a root, a server's chain, a client's certificate, one key."""

    root_file: Path
    key_file: Path
    chain_file: Path
    client_file: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        root_key, key, now = TlsKey.generate(), TlsKey.generate(), time.time()
        root_pem = new_root(federation_name="Hospital", key=root_key, now=now)
        chain = new_server_certificate(
            hosts=["localhost", "127.0.0.1"],
            key=key,
            root_pem=root_pem,
            issuer=Issuer(certificate_pem=root_pem, key=root_key),
            now=now,
        )
        made = cls(folder / "root.crt", folder / "own.key", folder / "server.crt", folder / "client.crt")
        write_file(made.root_file, root_pem)
        key.save(made.key_file)
        write_file(made.chain_file, chain)
        client = new_site_certificate(
            csr_pem=new_csr(key),
            site_id="scraper",
            issuer=Issuer(certificate_pem=root_pem, key=root_key),
            now=now,
        )
        write_file(made.client_file, client)
        return made

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain_file, self.key_file)
        return context


@dataclass
class MailSink:
    """Keeps what it is sent, and how it came."""

    port: int
    mails: list[Message] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    upgraded: list[bool] = field(default_factory=list)
    refuses: bool = False

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuses:
            return f"451 {PASSWORD} is not what keeps {envelope.rcpt_tos} from their mail"
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        self.envelopes.append(envelope)
        self.upgraded.append(session.ssl is not None)
        return "250 taken"


def _authenticate(*asked: object) -> AuthResult:
    """Whether the last of what was asked, name and password, is right."""
    right = LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=asked[-1] == right, handled=False)


@contextlib.contextmanager
def mail_sink(authority: Authority, *, security: str = "starttls") -> Iterator[MailSink]:
    """A mail server that takes mail from whoever signs in over TLS."""
    sink = MailSink(free_ports(1))
    context = authority.server_context()
    asks = {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": security == "starttls"}
    ways = {
        "starttls": {"tls_context": context, "require_starttls": True, **asks},
        "tls": {"ssl_context": context, **asks},
        "none": {},
    }
    controller = Controller(sink, hostname="127.0.0.1", port=sink.port, **ways[security])
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request that a receiver was sent."""

    headers: dict[str, str]
    body: bytes

    @property
    def notice(self) -> dict[str, Any]:
        return json.loads(self.body)

    def is_signed_with(self, key: bytes) -> bool:
        """By the specification's own words: https://www.standardwebhooks.com."""
        told = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = base64.b64encode(hmac.digest(key, told, hashlib.sha256)).decode()
        return self.headers["webhook-signature"] == f"v1,{digest}"


@dataclass
class WebhookReceiver:
    """Keeps what it is sent, and answers with the status that it is told to."""

    port: int
    posts: list[Post] = field(default_factory=list)
    status: int = 204

    @property
    def ids(self) -> list[str]:
        return [post.headers["webhook-id"] for post in self.posts]


@contextlib.contextmanager
def webhook_receiver(authority: Authority | None = None) -> Iterator[WebhookReceiver]:
    """A receiver, over TLS where an authority vouches for it."""
    receiver = WebhookReceiver(free_ports(1))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.posts.append(Post(headers=headers, body=body))
            self.send_response(receiver.status)
            if receiver.status in {301, 302, 307}:
                self.send_header("location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(socketserver.ThreadingMixIn, HTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", receiver.port), Handler)
    if authority is not None:
        server.socket = authority.server_context().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
