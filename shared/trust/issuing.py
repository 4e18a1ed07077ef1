"""How the federation's certificates are made (X.509 v3, RFC 5280): root, issuer, servers, sites.

The root signs leaves, or issuers below it that sign them in its place, so that its key can be kept offline:
its path length is 1, an issuer's is 0. No certificate outlives the one that has signed it. Times are seconds
since the Unix epoch and enter as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import TrustError
from shared.trust.certificates import CLOCK_SKEW, SITE_URI_PREFIX, host_name, is_site_id, load_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import check_csr

ROOT_LIFE = timedelta(days=3650)
ISSUER_LIFE = timedelta(days=1095)
SERVER_LIFE = timedelta(days=825)
SITE_LIFE = timedelta(days=30)

_ISSUERS_BELOW_ROOT = 1
_MAX_COMMON_NAME = 64
_KEY_ID_DIGITS = 16


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
    builder = _builder(subject=name, public_key=key.private.public_key(), now=now, life=ROOT_LIFE)
    return _pem(_authority(builder, issuers_below=_ISSUERS_BELOW_ROOT).issuer_name(name), key)


def allows_issuer(root_pem: bytes) -> bool:
    """Whether an issuer may stand below a root; below one that an early version has founded none may."""
    constraints = load_certificate(root_pem).extensions.get_extension_for_class(x509.BasicConstraints).value
    return constraints.path_length is None or constraints.path_length >= _ISSUERS_BELOW_ROOT


def new_cross_certificate(*, root_pem: bytes, old_root: Issuer, now: float) -> bytes:
    """A new root's key certified by the root before it (RFC 4210, 4.4: "new with old"), as PEM.

    Both roots have one name, so that the path length of the old one does not count it (RFC 5280, 4.2.1.9). It
    lets who believes only the old root reach a server under the new one, as long as the old one lives.
    """
    root = load_certificate(root_pem)
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # roots are made here alone
    builder = _builder(subject=root.subject, public_key=key, now=now, life=ROOT_LIFE, below=old_root)
    return _pem(_authority(builder, issuers_below=_ISSUERS_BELOW_ROOT), old_root.key)


def new_issuer(*, root: Issuer, key: TlsKey, now: float) -> bytes:
    """A certificate (PEM) by which a key issues certificates in the root's place, valid for three years.

    Its name holds a part of its key's identifier, so that one issuer after another can be told apart.
    """
    public_key = key.private.public_key()
    key_id = x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()
    builder = _builder(
        subject=_common_name(f"mammofed issuer {key_id[:_KEY_ID_DIGITS]}"),
        public_key=public_key,
        now=now,
        life=ISSUER_LIFE,
        below=root,
    )
    return _pem(_authority(builder, issuers_below=0), root.key)


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

    Raises
    ------
    TrustError
        There is no host, one is malformed, or the issuer's life has ended.
    """
    if not hosts:
        raise TrustError("A server certificate needs a host.", "Give the name or address that sites use.")
    builder = _builder(
        subject=_common_name("mammofed coordinator"),
        public_key=key.private.public_key(),
        now=now,
        life=SERVER_LIFE,
        below=issuer,
    )
    names = [host_name(host) for host in hosts]
    leaf = _pem(_leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH, names), issuer.key)
    return leaf + issuer.behind + cross_pem + root_pem


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
        The request is not usable (see `check_csr`), the site id has a character outside `[a-z0-9-]`, or the
        issuer's life has ended.
    """
    public_key = check_csr(csr_pem)
    if not is_site_id(site_id):
        raise TrustError("A site id is malformed.", "Use 1 to 63 of a-z, 0-9 and '-', not starting with '-'.")
    uri = x509.UniformResourceIdentifier(SITE_URI_PREFIX + site_id)
    builder = _builder(subject=_common_name(site_id), public_key=public_key, now=now, life=life, below=issuer)
    return _pem(_leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH, [uri]), issuer.key) + issuer.behind


def _builder(
    *,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: float,
    life: timedelta,
    below: Issuer | None = None,
) -> x509.CertificateBuilder:
    """What all certificates have; of one that another signs, its name and a life within its own."""
    begin = datetime.fromtimestamp(now, UTC)
    end = begin + life
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - CLOCK_SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if below is not None:
        above = load_certificate(below.certificate_pem)
        end = min(end, above.not_valid_after_utc)
        if end <= begin:
            raise _ended()
        builder = builder.issuer_name(above.subject).add_extension(_authority_key(above), critical=False)
    return builder.not_valid_after(end)


def _authority(builder: x509.CertificateBuilder, *, issuers_below: int) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=issuers_below), critical=True
    ).add_extension(_key_usage(signs_certificates=True), critical=True)


def _leaf(
    builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def _pem(builder: x509.CertificateBuilder, key: TlsKey) -> bytes:
    return builder.sign(key.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


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


def _authority_key(above: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_key = above.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _common_name(text: str) -> x509.Name:
    if not 0 < len(text) <= _MAX_COMMON_NAME:
        raise TrustError("A name in a certificate is empty or too long.", "Use 1 to 64 characters.")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _ended() -> TrustError:
    return TrustError(
        "The life of the coordinator's own certificate has ended: it can issue none.",
        "Look at `mammofed-coordinator keys show`: `keys renew-issuer` or `keys rotate-root` make a new one.",
    )
