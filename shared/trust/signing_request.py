"""A signing request (PKCS #10, RFC 2986): how a site asks for a certificate of its TLS key."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import TrustError
from shared.trust.keys import TlsKey


def new_csr(key: TlsKey) -> bytes:
    """A signing request as PEM: a public key and the proof of its private half."""
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


def _bad_csr() -> TrustError:
    return TrustError(
        "A certificate request is malformed or does not prove its key.",
        "Make a new request with an EC P-256 key.",
    )
