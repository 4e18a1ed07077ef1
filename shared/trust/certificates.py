"""What a certificate of the federation (X.509 v3, RFC 5280) says; nothing here proves who has issued it.

A site's certificate names the site twice: for people as common name, for programs as the URI
`urn:mammofed:site:<site-id>` in the subject alternative name; only the URI is ever believed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import TrustError

CLOCK_SKEW = timedelta(hours=1)
"""Certificates start this much earlier than they are issued: hospital clocks lag."""

SITE_URI_PREFIX = "urn:mammofed:site:"
_SITE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


def is_site_id(text: str) -> bool:
    """Whether a text has the form of a site id."""
    return _SITE_ID.fullmatch(text) is not None


def load_certificate(certificate_pem: bytes) -> x509.Certificate:
    """The first certificate of a PEM text. Raises TrustError if there is none."""
    try:
        return x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise _malformed() from error


def load_chain(chain_pem: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM text, the owner's own first. Raises TrustError if there is none."""
    try:
        return x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise _malformed() from error


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
    if not is_site_id(site_id):
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


def is_for_key(certificate_pem: bytes, public_key: ec.EllipticCurvePublicKey) -> bool:
    """Whether a certificate was issued for this public key."""
    return load_certificate(certificate_pem).public_key() == public_key


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


def _malformed() -> TrustError:
    return TrustError("A certificate is missing or malformed.", "Restore it from a backup, or enrol again.")


def _names_no_site() -> TrustError:
    return TrustError("A certificate does not name one site.", "Enrol the site to get its certificate.")
