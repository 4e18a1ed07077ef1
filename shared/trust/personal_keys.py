"""Signing keys of persons: each is sealed under a key that only the person's own secret yields.

The sealing key is HKDF-SHA-256 (RFC 5869) of the secret, which is random and as long as the key, so that no
slow hash is needed. What is stored tells nothing about the signing key to anyone without the secret.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import TamperedError
from shared.trust.keys import SigningKey, VerifyKey

_PURPOSE = b"mammofed person signing key v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


def new_personal_key(secret: bytes, *, name: str) -> tuple[VerifyKey, bytes]:
    """A new signing key: its public half, and its private half sealed for the holder of the secret.

    Parameters
    ----------
    secret
        32 random bytes that nobody stores.
    name
        Whose key it is; authenticated, so that one person's key cannot stand in the place of another's.
    """
    private = Ed25519PrivateKey.generate()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = nonce + _cipher(secret).encrypt(nonce, private.private_bytes_raw(), name.encode())
    return VerifyKey(private.public_key().public_bytes_raw()), sealed


def open_personal_key(sealed: bytes, secret: bytes, *, name: str) -> SigningKey:
    """The signing key that was sealed for the holder of this secret.

    Raises
    ------
    TamperedError
        The secret or the name is another, or a bit has changed.
    """
    try:
        raw = _cipher(secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
    except (InvalidTag, ValueError) as error:
        raise TamperedError(
            "A person's signing key was changed, or belongs to another token.",
            "Disable the person and add them again under another name.",
        ) from error
    return SigningKey(Ed25519PrivateKey.from_private_bytes(raw))


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_PURPOSE).derive(secret))
