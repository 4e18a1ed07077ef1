"""What sites sign and what persons compare: nothing of it may mean two things."""

from __future__ import annotations

import pytest

from shared.enrolment.renewal_pb2 import RenewRequest
from shared.enrolment.statement import fingerprint_of_keys, renewal_statement, same_fingerprint
from shared.trust.keys import NodeKey, SigningKey, TlsKey

TLS, SIGNING, NODE = TlsKey.generate(), SigningKey.generate(), NodeKey.generate()
KEYS = {"tls_key": TLS.private.public_key(), "signing_key": SIGNING.verify_key, "node_key": NODE.public}
OTHERS = {
    "tls_key": TlsKey.generate().private.public_key(),
    "signing_key": SigningKey.generate().verify_key,
    "node_key": NodeKey.generate().public,
}
REQUEST = RenewRequest(
    protocol_version=1,
    csr_pem=b"request",
    signing_public_key=b"signing",
    node_public_key="node",
    software_version="0.1.0",
)


def test_a_fingerprint_has_sixteen_groups_of_four_hex_digits_and_is_the_same_every_time() -> None:
    shown = fingerprint_of_keys(**KEYS)

    assert [len(group) for group in shown.split(" ")] == [4] * 16
    assert int(shown.replace(" ", ""), 16) >= 0
    assert fingerprint_of_keys(**KEYS) == shown


@pytest.mark.parametrize("name", KEYS)
def test_a_fingerprint_changes_with_each_of_the_keys(name: str) -> None:
    assert fingerprint_of_keys(**{**KEYS, name: OTHERS[name]}) != fingerprint_of_keys(**KEYS)


def test_a_part_of_a_fingerprint_is_not_the_fingerprint() -> None:
    shown = fingerprint_of_keys(**KEYS)

    assert same_fingerprint(shown.upper(), shown)
    for typed in ("", shown[:-1], shown + "0", shown[:4]):
        assert not same_fingerprint(typed, shown)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol_version": 2},
        {"csr_pem": b"reques"},
        {"signing_public_key": b"tsigning"},
        {"node_public_key": "nod"},
        {"software_version": "e0.1.0"},
    ],
)
def test_a_renewal_statement_changes_with_each_field(change: dict[str, object]) -> None:
    other = RenewRequest()
    other.CopyFrom(REQUEST)
    for name, value in change.items():
        setattr(other, name, value)

    assert renewal_statement(other, site_id="a") != renewal_statement(REQUEST, site_id="a")


def test_a_renewal_statement_is_for_one_site_and_leaves_the_proofs_out() -> None:
    signed = RenewRequest()
    signed.CopyFrom(REQUEST)
    signed.signature = signed.signing_key_proof = signed.node_key_proof = b"proof"

    assert renewal_statement(signed, site_id="a") == renewal_statement(REQUEST, site_id="a")
    assert renewal_statement(REQUEST, site_id="a") != renewal_statement(REQUEST, site_id="b")
