"""Passwords: what may be one, and Argon2id (RFC 9106) in its second recommended form."""

from __future__ import annotations

import functools
import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from shared.errors import ConfigError

LEAST_CHARACTERS, MOST_CHARACTERS = 12, 128
HASHES_AT_ONCE = 2
"""Each takes 64 MiB for the time that it takes; others wait."""

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_places = threading.Semaphore(HASHES_AT_ONCE)


def encode(password: str, *, name: str) -> str:
    """The Argon2 hash of a person's new password.

    Raises
    ------
    ConfigError
        It is too short, too long, or holds the person's name.
    """
    plain = _normal(password)
    if not LEAST_CHARACTERS <= len(plain) <= MOST_CHARACTERS:
        raise ConfigError(
            f"A password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters.",
            "Take some words that nobody else would put together.",
        )
    if name.casefold() in plain.casefold():
        raise ConfigError("The password holds the person's name.", "Take some words that do not.")
    with _places:
        return _hasher.hash(plain)


def is_right(password: str, encoded: str | None) -> bool:
    """Whether a password is that of a hash; takes as long where there is no hash, and is wrong then."""
    with _places:
        try:
            _hasher.verify(encoded or nobodys(), _normal(password))
        except VerifyMismatchError:
            return False
    return encoded is not None


@functools.cache
def nobodys() -> str:
    """The hash of a password that nobody knows. Called first where the time of that does not show."""
    return _hasher.hash(secrets.token_urlsafe())


def _normal(password: str) -> str:
    """The same password typed at another keyboard is the same (NIST SP 800-63B, section 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
