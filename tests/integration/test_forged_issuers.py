"""Issuers that must not be believed, over real TLS: a server's by sites, a site's by the coordinator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import FingerprintError, TrustError
from shared.transfer.rpc import listen, new_server, open_channel
from shared.trust.certificates import fingerprint, load_certificate
from shared.trust.issuing import (
    Issuer,
    new_issuer,
    new_root,
    new_server_certificate,
    new_site_certificate,
)
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import (
    check_listener,
    fetch_root,
    mutual_channel_credentials,
    mutual_server_credentials,
)

HOST = "127.0.0.1"
YEAR_S = 365 * 86_400
CONNECTED, REFUSED = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE
"""What a call of a method that is not there finds out."""


def founded() -> Issuer:
    key = TlsKey.generate()
    return Issuer(certificate_pem=new_root(federation_name="Test", key=key, now=time.time()), key=key)


def certified(above: Issuer, *, key: TlsKey | None = None, age_s: float = 0.0) -> Issuer:
    key = key or TlsKey.generate()
    return Issuer(certificate_pem=new_issuer(root=above, key=key, now=time.time() - age_s), key=key)


ROOT = founded()

Forged = Callable[[], tuple[Issuer, bytes]]
"""Who signs a leaf, and what is shown behind the leaf in place of that one's own certificate."""


def by_another_root() -> tuple[Issuer, bytes]:
    issuer = certified(founded())
    return issuer, issuer.certificate_pem


def past_its_life() -> tuple[Issuer, bytes]:
    """The thief has its key, makes a leaf that lives now, and shows the certificate that has ended."""
    ended = certified(ROOT, age_s=4 * YEAR_S)
    return certified(founded(), key=ended.key), ended.certificate_pem


def below_an_issuer() -> tuple[Issuer, bytes]:
    first = certified(ROOT)
    second = certified(first)
    return second, second.certificate_pem + first.certificate_pem


def of_a_site() -> tuple[Issuer, bytes]:
    key = TlsKey.generate()
    own_pem = new_site_certificate(csr_pem=new_csr(key), site_id="mgh", issuer=ROOT, now=time.time())
    return Issuer(certificate_pem=own_pem, key=key), own_pem


def chain_of(leaf_pem: bytes, behind: bytes) -> bytes:
    return load_certificate(leaf_pem).public_bytes(Encoding.PEM) + behind


def server_chain(issuer: Issuer, behind: bytes, key: TlsKey) -> bytes:
    chain_pem = new_server_certificate(
        hosts=[HOST], key=key, issuer=issuer, root_pem=ROOT.certificate_pem, now=time.time()
    )
    return chain_of(chain_pem, behind + ROOT.certificate_pem)


def site_chain(issuer: Issuer, behind: bytes, key: TlsKey) -> bytes:
    leaf_pem = new_site_certificate(csr_pem=new_csr(key), site_id="ismd", issuer=issuer, now=time.time())
    return chain_of(leaf_pem, behind)


@contextmanager
def serving(issuer: Issuer, behind: bytes) -> Iterator[int]:
    """The port of a listener that asks for certificates of the root, and has one of this issuer."""
    server, key = new_server(num_threads=2), TlsKey.generate()
    credentials = mutual_server_credentials(
        chain_pem=server_chain(issuer, behind, key), key=key, root_pem=ROOT.certificate_pem
    )
    port = listen(server, HOST, 0, credentials)
    try:
        yield port
    finally:
        server.stop(None).wait(10)


def call(port: int, issuer: Issuer, behind: bytes) -> grpc.StatusCode:
    """How a call ends of a site with a certificate of this issuer."""
    key = TlsKey.generate()
    credentials = mutual_channel_credentials(
        root_pem=ROOT.certificate_pem, certificate_pem=site_chain(issuer, behind, key), key=key
    )
    with open_channel(f"{HOST}:{port}", credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/nothing/Here")(b"", timeout=20)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_an_issuer_that_the_root_has_certified_is_believed_by_both_sides() -> None:
    issuer = certified(ROOT)
    with serving(issuer, issuer.certificate_pem) as port:
        assert fetch_root(HOST, port, fingerprint(ROOT.certificate_pem)) == ROOT.certificate_pem
        check_listener(HOST, port, roots_pem=[ROOT.certificate_pem])
        assert call(port, issuer, issuer.certificate_pem) is CONNECTED
        assert call(port, ROOT, b"") is CONNECTED


@pytest.mark.parametrize("forged", [by_another_root, below_an_issuer, of_a_site])
def test_impersonation_a_server_of_a_forged_issuer_is_refused(forged: Forged) -> None:
    with serving(*forged()) as port:
        with pytest.raises(FingerprintError, match="has not issued"):
            fetch_root(HOST, port, fingerprint(ROOT.certificate_pem))
        with pytest.raises(FingerprintError, match="intercepted"):
            check_listener(HOST, port, roots_pem=[ROOT.certificate_pem])
        assert call(port, ROOT, b"") is REFUSED


def test_impersonation_a_server_of_an_issuer_past_its_life_is_refused_and_the_end_is_told() -> None:
    with serving(*past_its_life()) as port:
        with pytest.raises(TrustError, match="ended 365 days ago"):
            fetch_root(HOST, port, fingerprint(ROOT.certificate_pem))
        with pytest.raises(TrustError, match="ended 365 days ago"):
            check_listener(HOST, port, roots_pem=[ROOT.certificate_pem])
        assert call(port, ROOT, b"") is REFUSED


@pytest.mark.parametrize("forged", [by_another_root, past_its_life, below_an_issuer, of_a_site])
def test_intrusion_a_site_of_a_forged_issuer_is_not_let_in(forged: Forged) -> None:
    with serving(ROOT, b"") as port:
        assert call(port, *forged()) is REFUSED
