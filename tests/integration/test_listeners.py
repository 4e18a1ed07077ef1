"""Every port of a running coordinator as a stranger's scanner sees it: TLS 1.3 or nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from deploy.demo.federation import coordinator, free_ports, stopped_at_end, wait_until
from server.home import CoordinatorHome
from shared.trust.issuing import Issuer, new_root, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr

LOOPBACK = "127.0.0.1"
ROLES = ("fleet", "enrolment", "transfer", "control", "console")
OLD_VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2)
EVERY_CIPHER = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
TIMEOUT_S = 5.0
START_S = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorHome]:
    role = coordinator(tmp_path_factory.mktemp("coordinator") / "home")
    role.run("init", "--name", "Listeners", "--first-port", str(free_ports(len(ROLES))))
    with stopped_at_end(role):
        role.start()
        home = CoordinatorHome(role.home)
        wait_until(lambda: answers(port_of(home, "console")), START_S, "the console")
        yield home


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), TIMEOUT_S):
        return True
    return False


def port_of(home: CoordinatorHome, role: str) -> int:
    port: int = getattr(home.settings(), f"{role}_port")
    return port


def anything(version: ssl.TLSVersion, cipher: str = EVERY_CIPHER) -> ssl.SSLContext:
    """A client that would take anything of one version, from anyone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(cipher)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@contextlib.contextmanager
def handshake(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection((LOOPBACK, port), TIMEOUT_S) as wire,
        context.wrap_socket(wire, server_hostname=LOOPBACK) as connection,
    ):
        yield connection


def old_ciphers() -> list[str]:
    """Every cipher that this OpenSSL can offer before TLS 1.3, one by one."""
    offered = anything(ssl.TLSVersion.TLSv1_2).get_ciphers()
    return sorted(str(one["name"]) for one in offered if one["protocol"] != "TLSv1.3")


def listening_ports_of(home: CoordinatorHome) -> set[int]:
    """The ports on which a process of this home listens, by the kernel's own tables."""
    sockets = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and str(home.folder) in (process / "cmdline").read_text().split("\0"):
                sockets |= {str(one.readlink()) for one in (process / "fd").iterdir()}
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    return {int(row[1].rpartition(":")[2], 16) for row in listening}


def test_nothing_listens_but_the_five_documented_ports(home: CoordinatorHome) -> None:
    assert listening_ports_of(home) == {port_of(home, role) for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("version", OLD_VERSIONS, ids=lambda version: version.name)
def test_an_old_version_of_tls_is_refused_whatever_ciphers_it_offers(
    home: CoordinatorHome, role: str, version: ssl.TLSVersion
) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)), handshake(port_of(home, role), anything(version)):
        pass


@pytest.mark.parametrize("role", ROLES)
def test_no_single_cipher_of_tls_1_2_is_taken(home: CoordinatorHome, role: str) -> None:
    taken = []
    for cipher in old_ciphers():
        context = anything(ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")
        with contextlib.suppress(ssl.SSLError, ConnectionError), handshake(port_of(home, role), context):
            taken.append(cipher)

    assert len(old_ciphers()) > 20
    assert taken == []


@pytest.mark.parametrize("role", ROLES)
def test_tls_1_3_is_taken_under_the_federations_root_and_the_hosts_that_sites_use(
    home: CoordinatorHome, role: str
) -> None:
    context = ssl.create_default_context(cafile=home.root_certificate_file)

    with handshake(port_of(home, role), context) as connection:
        der = connection.getpeercert(binary_form=True)
        assert connection.version() == "TLSv1.3"

    assert der is not None
    leaf = x509.load_der_x509_certificate(der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"127.0.0.1", "localhost"}
    assert leaf.not_valid_before_utc.timestamp() < time.time() < leaf.not_valid_after_utc.timestamp()


def answer_to(port: int, context: ssl.SSLContext) -> bytes:
    """What comes back for the opening of HTTP/2: in TLS 1.3 a client is refused only after its handshake."""
    with handshake(port, context) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        return connection.recv(64)


def http2(home: CoordinatorHome) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=home.root_certificate_file)
    context.set_alpn_protocols(["h2"])
    return context


def certificate(folder: Path, context: ssl.SSLContext, root_pem: bytes, root_key: TlsKey) -> ssl.SSLContext:
    """Let a client show a certificate that a root issued to a site."""
    key = TlsKey.generate()
    key.save(folder / "site.key")
    (folder / "site.crt").write_bytes(
        new_site_certificate(
            csr_pem=new_csr(key),
            site_id="site-1",
            issuer=Issuer(certificate_pem=root_pem, key=root_key),
            now=time.time(),
        )
    )
    context.load_cert_chain(folder / "site.crt", folder / "site.key")
    return context


def test_a_stranger_without_a_certificate_of_the_federation_hears_nothing_from_the_mutual_listener(
    home: CoordinatorHome, tmp_path: Path
) -> None:
    port, own_key = port_of(home, "transfer"), TlsKey.generate()
    own_root = new_root(federation_name="Listeners", key=own_key, now=time.time())
    root_pem, root_key = home.root_certificate_file.read_bytes(), TlsKey.load(home.root_key_file)

    for stranger in (http2(home), certificate(tmp_path, http2(home), own_root, own_key)):
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert answer_to(port, stranger) == b""
    assert answer_to(port, certificate(tmp_path, http2(home), root_pem, root_key)) != b""


@pytest.mark.parametrize("role", ROLES)
def test_plain_text_gets_no_answer(home: CoordinatorHome, role: str) -> None:
    with socket.create_connection((LOOPBACK, port_of(home, role)), TIMEOUT_S) as wire:
        wire.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            answer = wire.recv(64)
        except ConnectionError:
            answer = b""

    assert b"HTTP" not in answer


@pytest.mark.slow
def test_the_line_of_a_node_that_rests_is_kept(home: CoordinatorHome) -> None:
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with handshake(port_of(home, "fleet"), anything(ssl.TLSVersion.TLSv1_3)) as connection:
        for _ in range(2):
            connection.sendall(ask)
            assert connection.recv(4096).startswith(b"HTTP/1.1 ")
            time.sleep(6)  # uvicorn keeps a line for 5 s, if nobody says otherwise
