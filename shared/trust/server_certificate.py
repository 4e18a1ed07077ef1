"""What a site checks of a server's certificate before it believes anything the server says.

Each failure has words of its own: a clock, a wrong host and a proxy in between need different remedies.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from shared.errors import TrustError
from shared.trust.certificates import expires_at, host_name, load_certificate

_LONGEST_NAME = 64


def check_dates(certificate_pem: bytes, *, now: float) -> None:
    """Return only if a certificate is valid now.

    Raises
    ------
    TrustError
        Its life has ended or not begun; the message says by how much.
    """
    start, end = (
        load_certificate(certificate_pem).not_valid_before_utc.timestamp(),
        expires_at(certificate_pem),
    )
    if now < start:
        raise TrustError(
            f"By this computer's clock the server's certificate is valid only in {_span(start - now)}.",
            f"Set the clock: it is at least {_span(start - now)} behind.",
        )
    if now > end:
        raise TrustError(
            f"By this computer's clock the server's certificate ended {_span(now - end)} ago.",
            f"If the clock is right, ask the coordinator to renew it; else the clock is {_span(now - end)} "
            "or more ahead: set it.",
        )


def check_names_host(certificate_pem: bytes, host: str) -> None:
    """Return only if a server's certificate was issued for this host.

    Raises
    ------
    TrustError
        It names others.
    """
    if not names_host(certificate_pem, host):
        raise TrustError(
            "The coordinator's certificate does not name the host that the invitation gives.",
            "Ask the coordinator for an invitation to a host that its certificate names.",
        )


def names_host(certificate_pem: bytes, host: str) -> bool:
    """Whether a server's certificate was issued for this host. Raises TrustError if it is no certificate."""
    certificate = load_certificate(certificate_pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return host_name(host) in set(names)


def issuer_name(certificate_pem: bytes) -> str:
    """Who a certificate says has issued it, printable and short; nothing of it is proved."""
    issuer = load_certificate(certificate_pem).issuer
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        for attribute in issuer.get_attributes_for_oid(kind):
            text = "".join(each for each in str(attribute.value) if each.isprintable())
            if text.strip():
                return text[:_LONGEST_NAME]
    return "an unnamed authority"


def _span(seconds: float) -> str:
    """A duration for a person: in the largest unit of which it has two."""
    for unit, length_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{round(seconds / length_s)} {unit}"
    return f"{round(seconds)} seconds"
