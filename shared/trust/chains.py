"""Whether a chain of certificates leads to the federation's root (path validation, RFC 5280, section 6).

OpenSSL judges: signatures, that only certificates of authorities issue others, and how many may stand below
each. Dates are not looked at here: every TLS handshake does so, and who wants to say which of them is wrong
asks for the path and checks each (`shared.trust.server_certificate.check_dates`).
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from OpenSSL import crypto

from shared.errors import TrustError
from shared.trust.certificates import load_certificate, load_chain

LONGEST_CHAIN = 4
"""Certificates of a chain that are looked at: its owner's, an issuer's, a cross certificate and the root."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name."""


def path_to_root(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The way from a chain's first certificate to a root: both of them, and what stands in between.

    Parameters
    ----------
    chain
        The owner's certificate, then others in any order, of which nothing is believed.

    Raises
    ------
    TrustError
        There is none.
    """
    store = crypto.X509Store()
    store.set_flags(_NO_CHECK_TIME)
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    leaf, *others = [crypto.X509.from_cryptography(each) for each in chain[:LONGEST_CHAIN]]
    try:
        path = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        raise TrustError(
            "A certificate was not issued by the federation's root.",
            "Ask the coordinator for a new invitation and compare its fingerprint by telephone.",
        ) from error
    return [each.to_cryptography() for each in path]


def check_issued_by(chain_pem: bytes, root_pem: bytes) -> None:
    """Return only if the root, or an issuer that stands behind it, has issued a chain's first certificate.

    Raises
    ------
    TrustError
        One of the two is not a certificate, or another authority issued it.
    """
    path_to_root(load_chain(chain_pem), [load_certificate(root_pem)])


def is_issued_by(chain_pem: bytes, root_pem: bytes) -> bool:
    """What `check_issued_by` finds. Raises TrustError if one of the two is not a certificate."""
    chain, root = load_chain(chain_pem), load_certificate(root_pem)
    try:
        path_to_root(chain, [root])
    except TrustError:
        return False
    return True
