"""Keys that two sites agree on by way of a coordinator, and what they are used for.

X25519 (RFC 7748), then HKDF-SHA256 (RFC 5869) under a label that says for what; ChaCha20 (RFC 8439) as a
stream of words that only those who have the key can tell from noise; ChaCha20-Poly1305 for what one site
tells another. Every key has 256 bits and is used in full.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from shared.errors import TamperedError, TrustError

KEY_BYTES = 32
TAG_BYTES = 16

_ONCE = bytes(12)
"""A nonce for keys that seal one message in their life."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AgreementKey:
    """A private X25519 key for one occasion. Make with `generate` or `of`."""

    _private: X25519PrivateKey = field(repr=False)

    def __repr__(self) -> str:
        return "AgreementKey(***)"

    @classmethod
    def generate(cls) -> AgreementKey:
        """A new random key."""
        return cls(X25519PrivateKey.from_private_bytes(secrets.token_bytes(KEY_BYTES)))

    @classmethod
    def of(cls, raw: bytes) -> AgreementKey:
        """The key of 32 bytes."""
        return cls(X25519PrivateKey.from_private_bytes(_whole(raw)))

    @property
    def raw(self) -> bytes:
        """The 32 bytes. A secret."""
        return self._private.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public half."""
        return self._private.public_key().public_bytes_raw()

    def agree(self, other: bytes, label: bytes) -> bytes:
        """A key of 32 bytes that the owner of the public key `other` comes to as well, under the same label.

        Raises
        ------
        TrustError
            `other` is a public key with which everybody comes to the same.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(_whole(other)))
        except ValueError as error:
            raise TrustError(
                "A site's public key for masks is one that hides nothing.",
                "Tell the coordinator; the site that sent it must not take part.",
            ) from error
        both = b"".join(sorted((self.public, other)))
        return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=label + both).derive(shared)


class KeyStream:
    """Words of 32 bits that a key of 32 bytes gives, one after the other; a key is for one stream."""

    def __init__(self, key: bytes) -> None:
        self._stream: CipherContext = Cipher(ChaCha20(_whole(key), bytes(16)), mode=None).encryptor()
        self._zeros, self._drawn = b"", bytearray()

    def words(self, size: int) -> NDArray[np.uint32]:
        """The next `size` words; good until the next call."""
        if len(self._zeros) != 4 * size:
            self._zeros, self._drawn = bytes(4 * size), bytearray(4 * size)
        self._stream.update_into(self._zeros, self._drawn)
        return np.frombuffer(self._drawn, "<u4")


def seal_once(key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Encrypt the one message that a key is for, bound to a context."""
    return ChaCha20Poly1305(_whole(key)).encrypt(_ONCE, plaintext, context)


def unseal_once(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Undo `seal_once`.

    Raises
    ------
    TamperedError
        A bit has changed, or key or context are others.
    """
    try:
        return ChaCha20Poly1305(_whole(key)).decrypt(_ONCE, sealed, context)
    except InvalidTag as error:
        raise TamperedError(
            "What one site told another was changed on its way.", "Tell the coordinator if it recurs."
        ) from error


def _whole(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise TrustError(
            "A key for masks does not have 256 bits.",
            "Check that all sites run the same version of mammofed.",
        )
    return key
