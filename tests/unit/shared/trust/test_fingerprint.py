"""The fingerprint of a site's keys, as two persons compare it."""

from __future__ import annotations

import pytest

from shared.trust.fingerprint import fingerprint_of_keys, same_fingerprint
from shared.trust.keys import NodeKey, SigningKey, TlsKey

TLS, SIGNING, NODE = TlsKey.generate(), SigningKey.generate(), NodeKey.generate()
KEYS = {"tls_key": TLS.private.public_key(), "signing_key": SIGNING.verify_key, "node_key": NODE.public}
OTHERS = {
    "tls_key": TlsKey.generate().private.public_key(),
    "signing_key": SigningKey.generate().verify_key,
    "node_key": NodeKey.generate().public,
}


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
