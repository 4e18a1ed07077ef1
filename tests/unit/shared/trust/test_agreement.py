"""Keys that sites agree on, against published vectors, and used to their last bit."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest

from shared.errors import TamperedError, TrustError
from shared.trust.agreement import AgreementKey, KeyStream, seal_once, unseal_once

# RFC 7748, 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_two_sites_come_to_the_key_that_the_rfcs_say() -> None:
    alice, bob = AgreementKey.of(ALICE), AgreementKey.of(BOB)
    # RFC 5869 by hand: extract without a salt, then one block of expansion.
    extracted = hmac.digest(bytes(32), SHARED, "sha256")
    expanded = hmac.digest(extracted, b"label" + ALICE_PUBLIC + BOB_PUBLIC + b"\x01", "sha256")

    assert (alice.public, bob.public) == (ALICE_PUBLIC, BOB_PUBLIC)
    assert alice.agree(BOB_PUBLIC, b"label") == bob.agree(ALICE_PUBLIC, b"label") == expanded
    assert alice.agree(BOB_PUBLIC, b"another") != expanded


def test_a_stream_is_chacha20_as_published() -> None:
    # RFC 8439, A.1, test vectors 1 and 2: the zero key at block counters 0 and 1.
    block_0 = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    block_0 += "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    block_1 = "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"

    stream = KeyStream(bytes(32))
    drawn = [stream.words(size).astype("<u4").tobytes() for size in (3, 13, 8)]

    assert b"".join(drawn).hex() == block_0 + block_1


@pytest.mark.parametrize("size", [0, 4, 16, 28, 31, 33])
def test_a_short_key_gives_no_stream(size: int) -> None:
    for use in (KeyStream, AgreementKey.of, lambda key: seal_once(key, b"", b"")):
        with pytest.raises(TrustError, match="256 bits"):
            use(bytes(size))


def test_a_stream_depends_on_every_bit_of_its_key() -> None:
    """Flower's legacy SecAgg+ folds its keys to 28 bits: most keys that differ then give one mask."""
    key = int.from_bytes(hashlib.sha256(b"a key").digest(), "big")
    streams = {
        KeyStream((key ^ flip).to_bytes(32, "big")).words(4).tobytes()
        for flip in [0, *(1 << bit for bit in range(256))]
    }

    assert len(streams) == 257


def test_words_of_a_stream_are_spread_evenly() -> None:
    stream = KeyStream(hashlib.sha256(b"another key").digest())
    num_bytes = 4 * 2**18
    counts = np.bincount(stream.words(2**18).view(np.uint8), minlength=256)

    chi_square = float(((counts - num_bytes / 256) ** 2 / (num_bytes / 256)).sum())

    assert 170 < chi_square < 350  # 255 degrees of freedom: outside with a probability below 1e-4


def test_a_public_key_with_which_everybody_agrees_on_the_same_is_refused() -> None:
    for hides_nothing in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(TrustError, match="hides nothing"):
            AgreementKey.generate().agree(hides_nothing, b"label")


def test_what_was_sealed_opens_with_its_key_and_context_alone() -> None:
    key = bytes(range(32))
    sealed = seal_once(key, b"share", b"context")

    assert unseal_once(key, sealed, b"context") == b"share"
    for other in (
        (bytes(32), sealed, b"context"),
        (key, sealed, b"another"),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"context"),
        (key, b"", b"context"),
    ):
        with pytest.raises(TamperedError):
            unseal_once(*other)


def test_no_secret_shows() -> None:
    assert repr(AgreementKey.of(ALICE)) == "AgreementKey(***)"
