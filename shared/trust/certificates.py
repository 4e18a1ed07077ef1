"""The federation's certificates (X.509 v3, RFC 5280): one root, server certificates, site certificates.

The root signs leaves, or one issuer below it that signs them in its place, so that the root's key can be kept
offline (path length 1; an issuer has 0). A site's certificate names the site twice: for people as
common name, for programs as the URI `urn:mammofed:site:<site-id>` in the subject alternative name; only
the URI is ever believed. Times are seconds since the Unix epoch and enter as arguments.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import TrustError
from shared.trust.keys import TlsKey

ROOT_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=825)
ISSUER_LIFE = timedelta(days=1095)
SITE_LIFE = timedelta(days=30)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates start this much earlier than `now`: hospital clocks lag."""

SITE_URI_PREFIX = "urn:mammofed:site:"
_SITE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_MAX_COMMON_NAME = 64
MOST_BEHIND = 4
"""Certificates of a chain that are looked at, its own first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who signs certificates: the root itself, or one below it that the root has certified for that."""

    certificate_pem: bytes
    key: TlsKey = field(repr=False)

    @property
    def behind(self) -> bytes:
        """What stands behind a certificate by it in a chain, PEM: nothing if it is the root."""
        own = load_certificate(self.certificate_pem)
        return b"" if own.subject == own.issuer else self.certificate_pem


def new_root(*, federation_name: str, key: TlsKey, now: float) -> bytes:
    """A self-signed root certificate as PEM, valid for ten years.

    Raises
    ------
    TrustError
        The name is empty or longer than 64 characters (RFC 5280, ub-common-name).
    """
    return _new_root(_common_name(federation_name), key, now)


def new_root_after(root_pem: bytes, *, key: TlsKey, now: float) -> bytes:
    """A self-signed root certificate as PEM, of the same name as the root that it replaces."""
    return _new_root(load_certificate(root_pem).subject, key, now)


def _new_root(name: x509.Name, key: TlsKey, now: float) -> bytes:
    return (
        _builder(subject=name, issuer=name, public_key=key.private.public_key(), now=now, life=ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key.private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def new_cross_certificate(*, root_pem: bytes, old_root_pem: bytes, old_root_key: TlsKey, now: float) -> bytes:
    """A new root's key certified by the root before it (RFC 4210, 4.4: "new with old"), as PEM.

    Both roots have one name, so that the path length of the old one does not count it (RFC 5280, 4.2.1.9). It
    lets who believes only the old root reach a server under the new one, as long as the old one lives.
    """
    root, old_root = load_certificate(root_pem), load_certificate(old_root_pem)
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # roots are made here alone
    remaining = old_root.not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    return (
        _builder(subject=root.subject, issuer=old_root.subject, public_key=key, now=now, life=remaining)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_authority_key(old_root), critical=False)
        .sign(old_root_key.private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def new_issuer(*, root_pem: bytes, root_key: TlsKey, key: TlsKey, now: float) -> bytes:
    """A certificate (PEM) by which a key issues certificates in the root's place, valid for three years.

    It ends with the root at the latest.
    """
    root = load_certificate(root_pem)
    remaining = root.not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    return (
        _builder(
            subject=_common_name("mammofed issuer"),
            issuer=root.subject,
            public_key=key.private.public_key(),
            now=now,
            life=min(ISSUER_LIFE, remaining),
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_authority_key(root), critical=False)
        .sign(root_key.private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def new_server_certificate(
    *,
    hosts: Sequence[str],
    key: TlsKey,
    issuer: Issuer,
    root_pem: bytes,
    now: float,
    cross_pem: bytes = b"",
) -> bytes:
    """A server's chain as PEM: its certificate, that of its issuer if it is another, then the root.

    The root is part of the chain because a joining site holds only the root's fingerprint.

    Parameters
    ----------
    hosts
        DNS names and IP addresses under which sites reach the server.
    cross_pem
        Of `new_cross_certificate`. It stands before the root, whom else those would take for the end of the
        chain who know only the old one.
    """
    if not hosts:
        raise TrustError("A server certificate needs a host.", "Give the name or address that sites use.")
    above = load_certificate(issuer.certificate_pem)
    remaining = above.not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    leaf = (
        _builder(
            subject=_common_name("mammofed coordinator"),
            issuer=above.subject,
            public_key=key.private.public_key(),
            now=now,
            life=min(SERVER_LIFE, remaining),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([host_name(host) for host in hosts]), critical=False)
        .add_extension(_authority_key(above), critical=False)
        .sign(issuer.key.private, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM) + issuer.behind + cross_pem + root_pem


def new_csr(key: TlsKey) -> bytes:
    """A signing request (PKCS #10) as PEM: a public key and the proof of its private half."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key.private, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def check_csr(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a signing request; names and extensions that it asks for are ignored.

    Raises
    ------
    TrustError
        It is malformed, does not prove its private key, or its key is not EC P-256.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        valid, key = csr.is_signature_valid, csr.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_csr() from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_csr()
    return key


def new_site_certificate(
    *,
    csr_pem: bytes,
    site_id: str,
    issuer: Issuer,
    now: float,
    life: timedelta = SITE_LIFE,
) -> bytes:
    """A site's client certificate as PEM, with that of its issuer behind it if that is not the root.

    Raises
    ------
    TrustError
        The request is not usable (see `check_csr`) or the site id has a character outside `[a-z0-9-]`.
    """
    public_key = check_csr(csr_pem)
    if not _SITE_ID.fullmatch(site_id):
        raise TrustError("A site id is malformed.", "Use 1 to 63 of a-z, 0-9 and '-', not starting with '-'.")
    above = load_certificate(issuer.certificate_pem)
    uri = x509.UniformResourceIdentifier(SITE_URI_PREFIX + site_id)
    leaf = (
        _builder(
            subject=_common_name(site_id),
            issuer=above.subject,
            public_key=public_key,
            now=now,
            life=life,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(_authority_key(above), critical=False)
        .sign(issuer.key.private, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM) + issuer.behind


def fingerprint(certificate_pem: bytes) -> str:
    """Hex SHA-256 of the certificate's DER bytes. Raises TrustError if it is not a certificate."""
    return fingerprint_of_der(load_certificate(certificate_pem).public_bytes(serialization.Encoding.DER))


def fingerprint_of_der(certificate_der: bytes) -> str:
    """Hex SHA-256 of a certificate's DER bytes."""
    return hashlib.sha256(certificate_der).hexdigest()


def site_id_of(certificate_pem: bytes) -> str:
    """The site that a certificate was issued to, from its URI; says nothing about who issued it.

    Raises
    ------
    TrustError
        It is not a certificate, or does not name exactly one site.
    """
    try:
        names = (
            load_certificate(certificate_pem)
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        )
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise _names_no_site() from error
    if len(uris) != 1 or not uris[0].startswith(SITE_URI_PREFIX):
        raise _names_no_site()
    site_id = uris[0].removeprefix(SITE_URI_PREFIX)
    if not _SITE_ID.fullmatch(site_id):
        raise _names_no_site()
    return site_id


def expires_at(certificate_pem: bytes) -> float:
    """When a certificate's life ends, in seconds since the Unix epoch.

    Raises
    ------
    TrustError
        The PEM is not a certificate.
    """
    return load_certificate(certificate_pem).not_valid_after_utc.timestamp()


def issued_at(certificate_pem: bytes) -> float:
    """When a certificate of this federation was issued, in seconds since the Unix epoch.

    Raises
    ------
    TrustError
        The PEM is not a certificate.
    """
    return (load_certificate(certificate_pem).not_valid_before_utc + CLOCK_SKEW).timestamp()


def check_issued_by(certificate_pem: bytes, root_pem: bytes) -> None:
    """Return only if the root signed the certificate; validity dates are left to the TLS handshake.

    Raises
    ------
    TrustError
        One of the two is not a certificate, or another authority issued it.
    """
    if not is_issued_by(certificate_pem, root_pem):
        raise TrustError(
            "A certificate was not issued by the federation's root.",
            "Ask the coordinator for a new invitation and compare its fingerprint by telephone.",
        )


def is_issued_by(certificate_pem: bytes, root_pem: bytes) -> bool:
    """Whether the root, or an issuer that it has certified and that stands behind it, signed a certificate.

    Raises TrustError if one of the two is not a certificate.
    """
    certificate, root = load_certificate(certificate_pem), load_certificate(root_pem)
    if _has_signed(root, certificate):
        return True
    behind = x509.load_pem_x509_certificates(certificate_pem)[1:MOST_BEHIND]
    return any(
        _may_issue(each) and _has_signed(each, certificate) and _has_signed(root, each) for each in behind
    )


def _has_signed(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    """Whether a certificate is of an issuer (RFC 5280, 4.2.1.3 and 4.2.1.9), and not of a site."""
    try:
        extensions = certificate.extensions
        return (
            extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        )
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def is_for_key(certificate_pem: bytes, public_key: ec.EllipticCurvePublicKey) -> bool:
    """Whether a certificate was issued for this public key."""
    return load_certificate(certificate_pem).public_key() == public_key


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: float,
    life: timedelta,
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(start + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_key = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _common_name(text: str) -> x509.Name:
    if not 0 < len(text) <= _MAX_COMMON_NAME:
        raise TrustError("A name in a certificate is empty or too long.", "Use 1 to 64 characters.")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def host_name(host: str) -> x509.GeneralName:
    """A host as a certificate names it. Raises TrustError if it is neither a DNS name nor an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode())
    except ValueError as error:
        raise TrustError("A host name is malformed.", "Give a DNS name or an IP address.") from error


def load_certificate(certificate_pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM text. Raises TrustError if there is none."""
    try:
        return x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise TrustError(
            "A certificate is missing or malformed.", "Restore it from a backup, or enrol again."
        ) from error


def _bad_csr() -> TrustError:
    return TrustError(
        "A certificate request is malformed or does not prove its key.",
        "Make a new request with an EC P-256 key.",
    )


def _names_no_site() -> TrustError:
    return TrustError("A certificate does not name one site.", "Enrol the site to get its certificate.")
