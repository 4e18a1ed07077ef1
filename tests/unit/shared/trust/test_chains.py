"""Which chains lead to the root, and which of a thief's do not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import shared.trust.issuing
from shared.errors import TrustError
from shared.trust.certificates import expires_at, load_certificate, load_chain
from shared.trust.chains import check_issued_by, is_issued_by, path_to_root
from shared.trust.issuing import (
    Issuer,
    allows_issuer,
    new_cross_certificate,
    new_issuer,
    new_root,
    new_root_after,
    new_server_certificate,
    new_site_certificate,
)
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr

NOW, DAY_S = 1_800_000_000.0, 86_400.0


def founded(name: str = "Test federation") -> Issuer:
    key = TlsKey.generate()
    return Issuer(certificate_pem=new_root(federation_name=name, key=key, now=NOW), key=key)


def below(root: Issuer, *, now: float = NOW) -> Issuer:
    key = TlsKey.generate()
    return Issuer(certificate_pem=new_issuer(root=root, key=key, now=now), key=key)


def member(issuer: Issuer, *, now: float = NOW) -> bytes:
    return new_site_certificate(csr_pem=new_csr(TlsKey.generate()), site_id="mgh", issuer=issuer, now=now)


ROOT = founded()
ISSUER = below(ROOT)


def test_a_site_is_of_the_federation_by_its_root_or_by_an_issuer_that_stands_behind_it() -> None:
    by_root, by_issuer = member(ROOT), member(ISSUER)

    assert [len(load_chain(each)) for each in (by_root, by_issuer)] == [1, 2]
    assert is_issued_by(by_root, ROOT.certificate_pem)
    assert is_issued_by(by_issuer, ROOT.certificate_pem)
    root = load_certificate(ROOT.certificate_pem)
    assert path_to_root(load_chain(by_issuer), [root]) == [*load_chain(by_issuer), root]


def test_without_its_issuer_behind_it_a_certificate_leads_nowhere() -> None:
    alone = load_certificate(member(ISSUER)).public_bytes(Encoding.PEM)

    with pytest.raises(TrustError, match="not issued by the federation's root"):
        check_issued_by(alone, ROOT.certificate_pem)


def test_forgery_an_issuer_of_another_root_of_the_same_name_is_not_believed() -> None:
    forged = member(below(founded()))

    assert not is_issued_by(forged, ROOT.certificate_pem)
    assert not is_issued_by(forged + ROOT.certificate_pem, ROOT.certificate_pem)


def test_forgery_a_key_of_its_own_under_the_issuers_name_is_not_believed() -> None:
    posing = Issuer(certificate_pem=ISSUER.certificate_pem, key=TlsKey.generate())

    assert not is_issued_by(member(posing), ROOT.certificate_pem)


def test_escalation_a_site_cannot_issue_certificates_by_its_own() -> None:
    key = TlsKey.generate()
    own_pem = new_site_certificate(csr_pem=new_csr(key), site_id="mgh", issuer=ROOT, now=NOW)

    forged = member(Issuer(certificate_pem=own_pem, key=key))

    assert len(load_chain(forged)) == 2
    assert not is_issued_by(forged, ROOT.certificate_pem)


def test_escalation_an_issuer_cannot_make_another_one() -> None:
    second = below(ISSUER)
    chain_pem = member(second) + ISSUER.certificate_pem

    assert len(load_chain(chain_pem)) == 3
    assert not is_issued_by(chain_pem, ROOT.certificate_pem)


def test_below_a_root_of_an_early_version_no_issuer_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as early:
        early.setattr(shared.trust.issuing, "_ISSUERS_BELOW_ROOT", 0)
        root = founded()

    assert (allows_issuer(root.certificate_pem), allows_issuer(ROOT.certificate_pem)) == (False, True)
    assert is_issued_by(member(root), root.certificate_pem)
    assert not is_issued_by(member(below(root)), root.certificate_pem)


def test_who_knows_only_the_old_root_reaches_a_server_of_an_issuer_below_the_new_one() -> None:
    key = TlsKey.generate()
    new_pem = new_root_after(ROOT.certificate_pem, key=key, now=NOW)
    chain_pem = new_server_certificate(
        hosts=["127.0.0.1"],
        key=TlsKey.generate(),
        issuer=below(Issuer(certificate_pem=new_pem, key=key)),
        root_pem=new_pem,
        now=NOW,
        cross_pem=new_cross_certificate(root_pem=new_pem, old_root=ROOT, now=NOW),
    )

    assert is_issued_by(chain_pem, ROOT.certificate_pem)
    assert is_issued_by(chain_pem, new_pem)


def test_no_certificate_outlives_the_one_that_has_signed_it() -> None:
    issuer_ends, root_ends = expires_at(ISSUER.certificate_pem), expires_at(ROOT.certificate_pem)
    late = below(ROOT, now=root_ends - 100 * DAY_S)

    assert expires_at(member(ISSUER, now=issuer_ends - 5 * DAY_S)) == issuer_ends
    assert expires_at(late.certificate_pem) == root_ends
    for ended_at in (issuer_ends, issuer_ends + DAY_S):
        with pytest.raises(TrustError, match="has ended"):
            member(ISSUER, now=ended_at)
