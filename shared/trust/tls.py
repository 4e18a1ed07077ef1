"""TLS between coordinator and sites: credentials for gRPC, and first contact with a pinned root.

Enrolment is the only service that asks for no client certificate; every other one is mutual TLS under
the federation's root alone (the operating system's authorities are never consulted).
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from collections.abc import Sequence

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from shared.errors import FingerprintError, TrustError, UnreachableError
from shared.proxy import Proxy, dial
from shared.trust.certificates import fingerprint_of_der, load_certificate
from shared.trust.chains import path_to_root
from shared.trust.keys import TlsKey
from shared.trust.server_certificate import check_dates, check_names_host, issuer_name

_RECEIVE_BYTES = 16_384


def enrolment_server_credentials(*, chain_pem: bytes, key: TlsKey) -> grpc.ServerCredentials:
    """The server proves itself; the client need not.

    Parameters
    ----------
    chain_pem
        The server's certificate, then the root, as `new_server_certificate` returns them.
    """
    return grpc.ssl_server_credentials([(key.to_pem(), chain_pem)])


def mutual_server_credentials(*, chain_pem: bytes, key: TlsKey, root_pem: bytes) -> grpc.ServerCredentials:
    """Both prove themselves; a client without a certificate of this root gets no connection."""
    return grpc.ssl_server_credentials(
        [(key.to_pem(), chain_pem)], root_certificates=root_pem, require_client_auth=True
    )


def enrolment_channel_credentials(*, root_pem: bytes) -> grpc.ChannelCredentials:
    """For a client that has no certificate yet."""
    return grpc.ssl_channel_credentials(root_certificates=root_pem)


def mutual_channel_credentials(
    *, root_pem: bytes, certificate_pem: bytes, key: TlsKey
) -> grpc.ChannelCredentials:
    """For an enrolled site."""
    return grpc.ssl_channel_credentials(
        root_certificates=root_pem, private_key=key.to_pem(), certificate_chain=certificate_pem
    )


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of what `join_address` has made."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def check_listener(
    host: str, port: int, *, roots_pem: Sequence[bytes], proxy: Proxy | None = None, timeout_s: float = 10.0
) -> None:
    """Return only if what answers at an address has a certificate of this federation, for this host and time.

    Raises
    ------
    UnreachableError
        Nothing answers in time, or what answers does not speak TLS 1.3.
    FingerprintError
        Another root has issued the certificate, such as that of a firewall which inspects TLS.
    TrustError
        The server is the right one, but by this computer's clock its certificate is not valid now, or it does
        not name this host.
    """
    chain = _presented_chain(host, port, proxy, timeout_s)
    try:
        path = path_to_root(chain, [load_certificate(root_pem) for root_pem in roots_pem])
    except TrustError as error:
        raise _another_root(chain[0].public_bytes(Encoding.PEM), host) from error
    _check_path(path, host)


def fetch_root(
    host: str, port: int, fingerprint: str, *, proxy: Proxy | None = None, timeout_s: float = 10.0
) -> bytes:
    """The root certificate (PEM) that a server presents, if it is the pinned one.

    Nothing that the server sends is believed: the root is known by its SHA-256 alone, and it must have
    issued, itself or by an issuer that is shown with it, the very certificate whose key the handshake
    (TLS 1.3) proved.

    Parameters
    ----------
    fingerprint
        Hex SHA-256 of the root's DER bytes.

    Raises
    ------
    UnreachableError
        Nothing answers in time, or what answers does not speak TLS 1.3.
    FingerprintError
        The pinned root is not in the chain or did not sign the server's certificate.
    TrustError
        The server is the right one, but by this computer's clock its certificate is not valid now, or it does
        not name this host.
    """
    chain = _presented_chain(host, port, proxy, timeout_s)
    for certificate in chain:
        if hmac.compare_digest(fingerprint_of_der(certificate.public_bytes(Encoding.DER)), fingerprint):
            root = certificate
            break
    else:
        raise _another_root(chain[0].public_bytes(Encoding.PEM), host)
    try:
        path = path_to_root(chain, [root])
    except TrustError as error:
        raise _borrowed_root() from error
    _check_path(path, host)
    return root.public_bytes(Encoding.PEM)


def _check_path(path: Sequence[x509.Certificate], host: str) -> None:
    """Whether each certificate from a server's own to the root is valid now, and the first names the host."""
    for certificate in path:
        check_dates(certificate.public_bytes(Encoding.PEM), now=time.time())
    check_names_host(path[0].public_bytes(Encoding.PEM), host)


def _presented_chain(host: str, port: int, proxy: Proxy | None, timeout_s: float) -> list[x509.Certificate]:
    deadline = time.monotonic() + timeout_s
    try:
        with dial(host, port, proxy, timeout_s=timeout_s) as wire:
            chain = _handshake(wire, host, deadline)
    except SSL.Error as error:
        raise UnreachableError(
            "Something answers at the coordinator's address, but it does not speak TLS 1.3.",
            "Check host and port, and whether a proxy or a TLS-inspecting firewall stands in between.",
        ) from error
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            "The coordinator does not answer at its address.",
            "Check the network, the firewall's outbound rule for this host and port, and that it is running.",
        ) from error
    if not chain:
        raise _borrowed_root()
    return chain


def _handshake(wire: socket.socket, host: str, deadline: float) -> list[x509.Certificate]:
    """Shake hands over memory buffers, so that a deadline holds for the whole and not for each read."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([b"h2"])
    connection = SSL.Connection(context, None)
    if not _is_ip_address(host):
        connection.set_tlsext_host_name(host.encode("idna"))
    connection.set_connect_state()
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            _send_pending(wire, connection)
            wire.settimeout(max(deadline - time.monotonic(), 0.001))
            received = wire.recv(_RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError("closed during the handshake") from None
            connection.bio_write(received)
        else:
            return connection.get_peer_cert_chain(as_cryptography=True) or []


def _send_pending(wire: socket.socket, connection: SSL.Connection) -> None:
    while True:
        try:
            wire.sendall(connection.bio_read(_RECEIVE_BYTES))
        except SSL.WantReadError:
            return


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _another_root(server_pem: bytes, host: str) -> FingerprintError:
    """Who inspects TLS makes a certificate for the very host that was asked for; another server does not."""
    issuer = issuer_name(server_pem)
    try:
        check_names_host(server_pem, host)
    except TrustError:
        return FingerprintError(
            f"Another server answers at this address: '{issuer}' issued its certificate, for other hosts.",
            "Check host and port with the coordinator, and the DNS and proxy settings of this network.",
        )
    return FingerprintError(
        f"The connection is intercepted: '{issuer}' issued the certificate, not the token's federation.",
        "Ask IT to exempt this host and port from TLS inspection; if the coordinator was founded anew or has "
        "changed its root, ask for a new invitation.",
    )


def _borrowed_root() -> FingerprintError:
    return FingerprintError(
        "The server shows the federation's root certificate, but that has not issued the server's own.",
        "Do not join over this network, and tell the coordinator: somebody poses as it.",
    )
