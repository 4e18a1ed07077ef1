"""Records that only their owner can read, and that nobody can change unseen: AES-256-GCM (NIST SP 800-38D).

A sealed record is a random nonce of 96 bits, the ciphertext and its tag of 128 bits. The context that it was
sealed under is authenticated with it, so that one record cannot stand in the place of another. One key may
seal 2^32 records at the most (SP 800-38D, 8.3), far more than a site will ever hold.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import StoreError, TamperedError, TrustError
from shared.files import sync_folder, write_file

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealingKey:
    """A secret key. Make with `open`."""

    _cipher: AESGCM = field(repr=False)

    def __repr__(self) -> str:
        return "SealingKey(***)"

    @classmethod
    def open(cls, path: Path) -> SealingKey:
        """Read the key, or make it at first use (mode 0600).

        Raises
        ------
        TrustError
            The file is unreadable or holds something else.
        StoreError
            A new key cannot be written.
        """
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            return cls._open_new(path)
        except OSError as error:
            raise _bad_key() from error
        if len(key) != KEY_BYTES:
            raise _bad_key()
        return cls(AESGCM(key))

    @classmethod
    def _open_new(cls, path: Path) -> SealingKey:
        # Two processes may come here at once: the first link stands, and both go on with what it names.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        write_file(draft, secrets.token_bytes(KEY_BYTES))
        try:
            os.link(draft, path)
            sync_folder(path.parent)
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(
                f"A file cannot be written: {error.strerror}.",
                "Free disk space or correct the folder's permissions.",
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        return cls.open(path)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt a record under a context."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, context)

    def unseal(self, sealed: bytes | memoryview, context: bytes) -> bytes:
        """Decrypt a record that was sealed under this context.

        Raises
        ------
        TamperedError
            A bit has changed, the key is another, or the record belongs to another context.
        """
        view = memoryview(sealed)
        try:
            return self._cipher.decrypt(bytes(view[:NONCE_BYTES]), view[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise TamperedError(
                "A sealed record was changed, or belongs to another key or place.",
                "Check the disk, and that the key file belongs to this home.",
            ) from error


def _bad_key() -> TrustError:
    return TrustError(
        "The key that seals records of this home cannot be read.",
        "Restore it from the backup of the home folder; a new key cannot open them.",
    )
