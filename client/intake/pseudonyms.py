"""Keyed hashes in place of identifiers; the key is made here and never leaves the home folder.

A plain hash of a patient identifier can be guessed back from the hospital's numbering; one under a secret
key cannot. The same identifier gives the same pseudonym within a site and another one elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from shared.errors import HomeError
from shared.files import write_file

KEY_FILE = "pseudonym.key"
KEY_SIZE_BYTES = 32


class Pseudonyms:
    """The pseudonyms of one site."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def open(cls, home: Path) -> Pseudonyms:
        """Read the home folder's key, or make it at first use (mode 0600).

        Raises
        ------
        HomeError
            The key is unreadable or not a key.
        StoreError
            The key cannot be written.
        """
        file = home / KEY_FILE
        try:
            key = file.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(KEY_SIZE_BYTES)
            write_file(file, key)
        except OSError as error:
            raise _bad_key() from error
        if len(key) != KEY_SIZE_BYTES:
            raise _bad_key()
        return cls(key)

    def patient(self, patient_id: str) -> str:
        """Pseudonym of a patient, 64 hex digits."""
        return self._hash(b"patient\0", patient_id)

    def source(self, source_id: str) -> str:
        """Keyed hash of a SOP Instance UID or of a file's digest, 64 hex digits."""
        return self._hash(b"source\0", source_id)

    def content(self, sha256: str) -> str:
        """Keyed hash of a prepared picture's digest, 64 hex digits."""
        return self._hash(b"content\0", sha256)

    def _hash(self, domain: bytes, text: str) -> str:
        return hmac.new(self._key, domain + text.encode(), hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "Pseudonyms(key=***)"


def _bad_key() -> HomeError:
    return HomeError(
        "The site's pseudonym key cannot be read.",
        "Restore the home folder's key from its backup; do not make a new one.",
    )
