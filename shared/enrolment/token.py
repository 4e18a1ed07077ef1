"""The invitation token: one printable word that carries all a site needs to join.

`mf1_` and, in base64url without padding (RFC 4648, section 5): host length (1 byte), host, port
(2 bytes, big-endian), SHA-256 of the federation's root certificate (32 bytes), name length (1 byte),
suggested site name (UTF-8), secret (32 bytes), and the first 4 bytes of the SHA-256 of all before. The
checksum tells a mistyped token from a wrong one. The token is a secret until it is used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from shared.errors import TokenError

PREFIX: Final = "mf1_"
SECRET_BYTES: Final = 32
_FAMILY: Final = "mf"
_HASH_DOMAIN: Final = b"mammofed invitation secret v1\0"
_FINGERPRINT_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 4
_MAX_TEXT_BYTES: Final = 255


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Secret:
    """32 random bytes that print masked and compare in constant time."""

    _value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self._value) != SECRET_BYTES:
            raise TokenError("An invitation's secret is not 32 bytes long.", "Ask for a new invitation.")

    @classmethod
    def generate(cls) -> Secret:
        """A new secret from the operating system's random source."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    def reveal(self) -> bytes:
        """The bytes themselves: only for the token and the enrolment request."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)


def hash_secret(secret: Secret) -> str:
    """Hex SHA-256 under which the coordinator keeps an invitation; 256 random bits need no slow hash."""
    return hashlib.sha256(_HASH_DOMAIN + secret.reveal()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationToken:
    """An invitation to join one federation, once.

    Attributes
    ----------
    host
        DNS name or IP address of the coordinator's enrolment service.
    port
        Its TCP port.
    root_fingerprint
        Hex SHA-256 of the federation's root certificate (DER).
    site_name
        Name that the coordinator gave the site, if any.
    """

    host: str
    port: int
    root_fingerprint: str
    site_name: str | None
    secret: Secret

    def __post_init__(self) -> None:
        host, name = self.host.encode(), (self.site_name or "").encode()
        printable = self.host.isascii() and self.host.isprintable() and " " not in self.host
        if not 0 < len(host) <= _MAX_TEXT_BYTES or not printable or not 0 < self.port < 2**16:
            raise TokenError("An invitation names no usable host and port.", "Ask for a new invitation.")
        if len(name) > _MAX_TEXT_BYTES or self.site_name == "":
            raise TokenError("An invitation's site name is unusable.", "Use 1 to 255 bytes of UTF-8.")
        pinned = _from_hex(self.root_fingerprint)
        if len(pinned) != _FINGERPRINT_BYTES or pinned.hex() != self.root_fingerprint:
            raise TokenError("An invitation pins no root certificate.", "Ask for a new invitation.")

    def reveal(self) -> str:
        """The printable token, secret included: to be shown once."""
        host, name = self.host.encode(), (self.site_name or "").encode()
        body = b"".join(
            (
                bytes([len(host)]),
                host,
                self.port.to_bytes(2, "big"),
                _from_hex(self.root_fingerprint),
                bytes([len(name)]),
                name,
                self.secret.reveal(),
            )
        )
        return PREFIX + _encode(body + _checksum(body))

    @classmethod
    def parse(cls, text: str) -> InvitationToken:
        """Read a token; white space, as mail programs insert it, is ignored.

        Raises
        ------
        TokenError
            It is no token at all, of a newer version, or mistyped.
        """
        word = "".join(text.split())
        if not word.startswith(PREFIX):
            raise _wrong_prefix(word)
        content = _decode(word.removeprefix(PREFIX))
        body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if not hmac.compare_digest(_checksum(body), checksum):
            raise _mistyped()
        return cls._from_body(body)

    @classmethod
    def _from_body(cls, body: bytes) -> InvitationToken:
        reader = _Reader(body)
        try:
            token = cls(
                host=reader.take(reader.take(1)[0]).decode(),
                port=int.from_bytes(reader.take(2), "big"),
                root_fingerprint=reader.take(_FINGERPRINT_BYTES).hex(),
                site_name=reader.take(reader.take(1)[0]).decode() or None,
                secret=Secret(reader.take(SECRET_BYTES)),
            )
        except UnicodeDecodeError as error:
            raise _mistyped() from error
        if reader.left:
            raise _mistyped()
        return token


class _Reader:
    """Takes bytes from the front; short content is a mistyped token."""

    def __init__(self, content: bytes) -> None:
        self.left = content

    def take(self, count: int) -> bytes:
        taken, self.left = self.left[:count], self.left[count:]
        if len(taken) != count:
            raise _mistyped()
        return taken


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + body).digest()[:_CHECKSUM_BYTES]


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _mistyped() from error
    if _encode(content) != text:
        raise _mistyped()
    return content


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise TokenError("A fingerprint is not hexadecimal.", "Ask for a new invitation.") from error


def _wrong_prefix(word: str) -> TokenError:
    version = word.removeprefix(_FAMILY).partition("_")[0]
    if word.startswith(_FAMILY) and version.isdecimal():
        return TokenError(
            "The invitation token is of another version of mammofed.",
            "Install the version that the coordinator runs.",
        )
    return TokenError(
        "That is not an invitation token.", f"Paste the whole word that begins with '{PREFIX}'."
    )


def _mistyped() -> TokenError:
    return TokenError(
        "The invitation token is mistyped or cut short.", "Copy it again, whole, from where it was shown."
    )
