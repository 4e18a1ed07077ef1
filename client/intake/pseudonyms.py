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
    def open(cls, home: Path, *, may_make: bool = False) -> Pseudonyms:
        """Read the home folder's key.

        Parameters
        ----------
        may_make
            Make the key (mode 0600) if there is none. Only for a home where nothing has a pseudonym yet:
            under a new key nobody would be known again, those who withdrew among them.

        Raises
        ------
        HomeError
            The key is missing, unreadable or not a key.
        StoreError
            The key cannot be written.
        """
        file = home / KEY_FILE
        try:
            key = file.read_bytes()
        except FileNotFoundError as error:
            if not may_make:
                raise HomeError(
                    "The site's pseudonym key is missing.",
                    "Restore it from the backup of the home folder; under a new key no patient who withdrew "
                    "would be known.",
                ) from error
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
        # A file's name or a JSON text may hold what no Unicode text does.
        return hmac.new(self._key, domain + text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "Pseudonyms(key=***)"


def _bad_key() -> HomeError:
    return HomeError(
        "The site's pseudonym key cannot be read.",
        "Restore the home folder's key from its backup; do not make a new one.",
    )
