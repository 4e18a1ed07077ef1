"""Certificates: extensions of RFC 5280, what a site's certificate may do, what its request cannot ask for."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from shared.errors import TrustError
from shared.trust.certificates import expires_at, fingerprint, is_for_key, issued_at, site_id_of
from shared.trust.chains import check_issued_by
from shared.trust.issuing import (
    Issuer,
    new_cross_certificate,
    new_root,
    new_root_after,
    new_server_certificate,
    new_site_certificate,
)
from shared.trust.keys import TlsKey
from shared.trust.server_certificate import check_dates, check_names_host, issuer_name
from shared.trust.signing_request import new_csr

NOW = 1_900_000_000.0
MOMENT = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture(scope="module")
def root_key():
    return TlsKey.generate()


@pytest.fixture(scope="module")
def root_pem(root_key):
    return new_root(federation_name="Test federation", key=root_key, now=NOW)


def site_certificate(root_pem, root_key, site_id="mgh", csr_pem=None):
    return new_site_certificate(
        csr_pem=csr_pem or new_csr(TlsKey.generate()),
        site_id=site_id,
        issuer=Issuer(certificate_pem=root_pem, key=root_key),
        now=NOW,
    )


def load(pem):
    return x509.load_pem_x509_certificate(pem)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_the_root_may_sign_leaves_and_one_issuer_below_it_and_lives_ten_years(root_pem):
    root = load(root_pem)

    constraints = extension(root, x509.BasicConstraints)
    usage = extension(root, x509.KeyUsage)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 1)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.digital_signature) == (True, False)
    assert root.not_valid_after_utc - MOMENT == timedelta(days=3650)
    assert root.not_valid_before_utc < MOMENT


def test_the_server_chain_passes_the_strict_web_profile_for_each_host_and_ends_in_the_root(
    root_pem, root_key
):
    chain = new_server_certificate(
        hosts=["coordinator.example.org", "192.0.2.7", "2001:db8::7"],
        key=TlsKey.generate(),
        root_pem=root_pem,
        issuer=Issuer(certificate_pem=root_pem, key=root_key),
        now=NOW,
    )
    leaf, root = x509.load_pem_x509_certificates(chain)
    policy = PolicyBuilder().store(Store([load(root_pem)])).time(MOMENT)

    names = extension(leaf, x509.SubjectAlternativeName).value
    for name in names:
        policy.build_server_verifier(name).verify(leaf, [])
    assert len(list(names)) == 3
    assert root == load(root_pem)


def test_a_site_certificate_names_its_site_and_serves_clients_only(root_pem, root_key):
    pem = site_certificate(root_pem, root_key, site_id="wake-forest")
    leaf = load(pem)

    assert site_id_of(pem) == "wake-forest"
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "wake-forest"
    assert list(extension(leaf, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert extension(leaf, x509.BasicConstraints).value.ca is False
    assert (
        extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier
        == extension(load(root_pem), x509.SubjectKeyIdentifier).value.digest
    )
    PolicyBuilder().store(Store([load(root_pem)])).time(MOMENT).build_client_verifier().verify(leaf, [])


def test_two_certificates_never_share_a_serial_number(root_pem, root_key):
    csr_pem = new_csr(TlsKey.generate())

    first, second = (load(site_certificate(root_pem, root_key, csr_pem=csr_pem)) for _ in range(2))

    assert first.serial_number != second.serial_number


def test_a_fingerprint_is_the_sha256_of_the_der_bytes(root_pem):
    der = load(root_pem).public_bytes(Encoding.DER)

    assert fingerprint(root_pem) == hashlib.sha256(der).hexdigest()


def test_impersonation_by_a_request_that_asks_for_another_site_gets_only_its_own_name(root_pem, root_key):
    greedy_key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "victim")]))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:mammofed:site:victim")]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(greedy_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )

    pem = site_certificate(root_pem, root_key, site_id="rogue", csr_pem=greedy)

    assert site_id_of(pem) == "rogue"
    assert b"victim" not in load(pem).public_bytes(Encoding.DER)
    assert extension(load(pem), x509.BasicConstraints).value.ca is False
    assert is_for_key(pem, greedy_key.public_key())


def test_a_request_with_a_broken_proof_or_a_foreign_kind_of_key_is_refused(root_pem, root_key):
    good = x509.load_pem_x509_csr(new_csr(TlsKey.generate())).public_bytes(Encoding.DER)
    spoiled = bytearray(good)
    spoiled[-1] ^= 1
    other_curve = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384())
    )
    spoiled_pem = x509.load_der_x509_csr(bytes(spoiled)).public_bytes(Encoding.PEM)

    for csr_pem in (spoiled_pem, other_curve.public_bytes(Encoding.PEM), b"", b"-----BEGIN"):
        with pytest.raises(TrustError):
            new_site_certificate(
                csr_pem=csr_pem, site_id="a", issuer=Issuer(certificate_pem=root_pem, key=root_key), now=NOW
            )


@pytest.mark.parametrize("site_id", ["", "Upper", "a/b", "a" * 64, "-a", "a\n", "ä"])
def test_a_malformed_site_id_gets_no_certificate(site_id, root_pem, root_key):
    with pytest.raises(TrustError):
        site_certificate(root_pem, root_key, site_id=site_id)


def test_a_certificate_without_exactly_one_site_names_none(root_pem, root_key):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mgh")])

    def certificate(uris):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(MOMENT)
            .not_valid_after(MOMENT + timedelta(days=1))
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    assert site_id_of(certificate(["urn:mammofed:site:mgh"])) == "mgh"
    for uris in (
        [],
        ["urn:other:mgh"],
        ["urn:mammofed:site:a", "urn:mammofed:site:b"],
        ["urn:mammofed:site:a/b"],
    ):
        with pytest.raises(TrustError):
            site_id_of(certificate(uris))
    with pytest.raises(TrustError):
        site_id_of(b"not a certificate")


def test_a_certificate_of_another_root_with_the_same_name_is_told_apart(root_pem, root_key):
    pem = site_certificate(root_pem, root_key)
    namesake = new_root(federation_name="Test federation", key=TlsKey.generate(), now=NOW)

    check_issued_by(pem, root_pem)
    with pytest.raises(TrustError):
        check_issued_by(pem, namesake)


def test_an_empty_or_overlong_federation_name_is_refused(root_key):
    for name in ("", "x" * 65):
        with pytest.raises(TrustError):
            new_root(federation_name=name, key=root_key, now=NOW)


# -- what a joining site looks at before it sends anything


@pytest.fixture(scope="module")
def server_pem(root_pem, root_key):
    return new_server_certificate(
        hosts=["coordinator.example.org", "192.0.2.7", "2001:db8::7"],
        key=TlsKey.generate(),
        root_pem=root_pem,
        issuer=Issuer(certificate_pem=root_pem, key=root_key),
        now=NOW,
    )


@pytest.mark.parametrize("host", ["coordinator.example.org", "192.0.2.7", "2001:db8::7"])
def test_a_certificate_names_the_hosts_that_it_was_issued_for(host, server_pem):
    check_names_host(server_pem, host)


@pytest.mark.parametrize("host", ["example.org", "192.0.2.8", "a.coordinator.example.org", "a..b"])
def test_a_certificate_names_no_other_host(host, server_pem):
    with pytest.raises(TrustError, match="host"):
        check_names_host(server_pem, host)


def test_a_certificate_without_names_names_no_host(root_pem):
    with pytest.raises(TrustError, match="host"):
        check_names_host(root_pem, "coordinator.example.org")


@pytest.mark.parametrize("days", [-0.04, 0, 824])
def test_a_certificate_is_valid_from_an_hour_before_its_issue_to_its_end(days, server_pem):
    check_dates(server_pem, now=NOW + days * 86_400)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3_601, "valid only in 1 seconds"),
        (-3_600 - 119, "valid only in 119 seconds"),
        (-3_600 - 120, "valid only in 2 minutes"),
        (-3 * 86_400 - 3_600, "valid only in 3 days"),
        (825 * 86_400 + 7_200, "ended 2 hours ago"),
        (830 * 86_400, "ended 5 days ago"),
    ],
)
def test_a_clock_outside_a_certificates_life_is_told_by_how_much(seconds, words, server_pem):
    with pytest.raises(TrustError, match=words) as caught:
        check_dates(server_pem, now=NOW + seconds)

    assert "clock" in caught.value.hint


def test_an_issue_date_is_the_moment_of_issue_and_not_the_hour_before(server_pem):
    assert issued_at(server_pem) == NOW


def test_a_site_certificate_lives_as_long_as_it_is_told_and_thirty_days_untold(root_pem, root_key):
    for given, days in (({}, 30), ({"life": timedelta(days=397)}, 397)):
        certificate_pem = new_site_certificate(
            csr_pem=new_csr(TlsKey.generate()),
            site_id="mgh",
            issuer=Issuer(certificate_pem=root_pem, key=root_key),
            now=NOW,
            **given,
        )
        assert expires_at(certificate_pem) == NOW + days * 86_400


def test_an_issuer_is_named_as_it_names_itself(server_pem):
    assert issuer_name(server_pem) == "Test federation"


# -- one root after another


@pytest.fixture(scope="module")
def change(root_pem, root_key):
    """A new root, its key, and the cross certificate, a year after the first root."""
    key = TlsKey.generate()
    later = NOW + 365 * 86_400
    new_pem = new_root_after(root_pem, key=key, now=later)
    cross_pem = new_cross_certificate(
        root_pem=new_pem, old_root=Issuer(certificate_pem=root_pem, key=root_key), now=later
    )
    return new_pem, key, cross_pem


def test_a_root_that_follows_has_the_name_of_the_one_before_and_a_key_and_life_of_its_own(root_pem, change):
    new, old = load(change[0]), load(root_pem)

    assert new.subject == new.issuer == old.subject
    assert new.public_key() != old.public_key()
    assert expires_at(change[0]) - expires_at(root_pem) == pytest.approx(365 * 86_400, abs=2)
    check_issued_by(change[0], change[0])
    with pytest.raises(TrustError):
        check_issued_by(change[0], root_pem)


def test_the_old_root_vouches_for_the_new_one_as_long_as_it_lives_itself(root_pem, change):
    new_pem, _, cross_pem = change

    check_issued_by(cross_pem, root_pem)
    assert load(cross_pem).public_key() == load(new_pem).public_key()
    assert expires_at(cross_pem) == pytest.approx(expires_at(root_pem), abs=2)


def test_a_chain_shows_the_cross_certificate_between_the_servers_own_and_the_root(change):
    new_pem, key, cross_pem = change

    chain_pem = new_server_certificate(
        hosts=["127.0.0.1"],
        key=TlsKey.generate(),
        root_pem=new_pem,
        issuer=Issuer(certificate_pem=new_pem, key=key),
        now=NOW,
        cross_pem=cross_pem,
    )

    assert chain_pem.endswith(cross_pem + new_pem)
    assert chain_pem.count(b"BEGIN CERTIFICATE") == 3
