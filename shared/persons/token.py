"""A person's token: the one secret by which this software knows a person, and opens their signing key.

`mf_person_` and 32 random bytes in base64url without padding (RFC 4648, section 5). It is shown once; what is
kept is its SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import TrustError
from shared.files import is_open_to_others

PREFIX: Final = "mf_person_"
VARIABLE: Final = "MAMMOFED_TOKEN"
SECRET_BYTES: Final = 32
_HASH_DOMAIN: Final = b"mammofed person token v1\0"
_MAX_FILE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PersonToken:
    """A token that prints masked. Make with `generate` or `parse`."""

    _secret: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "PersonToken(****)"

    @classmethod
    def generate(cls) -> PersonToken:
        """A new token from the operating system's random source."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> PersonToken:
        """Read a token; white space around it is ignored.

        Raises
        ------
        TrustError
            It is no token.
        """
        word = text.strip()
        try:
            secret = base64.b64decode(word.removeprefix(PREFIX) + "=", altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise _no_token() from error
        token = cls(secret)
        if len(secret) != SECRET_BYTES or token.reveal() != word:
            raise _no_token()
        return token

    def reveal(self) -> str:
        """The printable token: to be shown once."""
        return PREFIX + base64.urlsafe_b64encode(self._secret).decode().rstrip("=")

    def key_secret(self) -> bytes:
        """What the sealing of the person's signing key is derived from."""
        return self._secret

    def hash(self) -> str:
        """Hex SHA-256 under which the token is kept; 256 random bits need no slow hash."""
        return hashlib.sha256(_HASH_DOMAIN + self._secret).hexdigest()

    def has_hash(self, kept: str) -> bool:
        """Whether this is the token of a kept hash; takes the same time whatever the answer."""
        return hmac.compare_digest(self.hash(), kept)


def given_token(environment: Mapping[str, str], file: Path | None) -> PersonToken | None:
    """The token that a person gives with a command: in a file, or else in `MAMMOFED_TOKEN`.

    Raises
    ------
    TrustError
        The file is unreadable or open to others, or what is given is no token.
    """
    if file is not None:
        return PersonToken.parse(_read_private(file))
    given = environment.get(VARIABLE, "")
    return PersonToken.parse(given) if given else None


def _read_private(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            open_to_others = is_open_to_others(file)
            content = stream.read(_MAX_FILE_BYTES)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError("The file of the token cannot be read.", "Name the file that holds it.") from error
    if open_to_others:
        raise TrustError(
            "The file of the token is open to other users of this machine.",
            "Give it mode 0600; have the person disabled if others may have read it.",
        )
    return text


def _no_token() -> TrustError:
    return TrustError("That is not a person's token.", f"Give the whole word that begins with '{PREFIX}'.")
