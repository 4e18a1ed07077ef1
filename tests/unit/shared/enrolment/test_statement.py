"""What a site signs when it renews: nothing of it may mean two things."""

from __future__ import annotations

import pytest

from shared.enrolment.renewal_pb2 import RenewRequest
from shared.enrolment.statement import renewal_statement

REQUEST = RenewRequest(
    protocol_version=1,
    csr_pem=b"request",
    signing_public_key=b"signing",
    node_public_key="node",
    software_version="0.1.0",
)


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
