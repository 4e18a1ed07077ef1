"""Streams sealed by a passphrase: nobody without it can read them, and nothing of them is changed unseen.

A key of 256 bits is made of passphrase and salt by scrypt (RFC 7914; N = 2^17, r = 8, p = 1: 128 MiB and half
a second for each guess). The stream is cut into chunks, each sealed by ChaCha20-Poly1305 (RFC 8439) under its
number and whether it is the last (STREAM; Hoang, Reyhanitabar, Rogaway and Vizar, CRYPTO 2015): chunks that
are altered, left out, put in another order, cut off or added are noticed. The form is fixed, so that no file
can ask for more work or memory:

    MAGIC | salt (32 bytes) | tag of the passphrase (16) | chunks, each with its tag (16)

Each chunk but the last is of 1 MiB.
"""

from __future__ import annotations

import io
import secrets
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from shared.errors import ConfigError, TamperedError, TrustError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAGIC = b"mammofed sealed v1\n\0"
LEAST_CHARACTERS = 12
CHUNK_BYTES = 1 << 20
_SCRYPT_N = 1 << 17
_SALT_BYTES, _TAG_BYTES, _KEY_BYTES, _NUMBER_BYTES = 32, 16, 32, 11
_TAG_NONCE = b"\xff" * (_NUMBER_BYTES + 1)


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """What a person has chosen to seal by; Unicode in NFC, so that it is the same from every keyboard."""

    text: str = field(repr=False)

    def __repr__(self) -> str:
        return "Passphrase(***)"

    def check_length(self) -> None:
        """Return only if something new may be sealed by it. Raises ConfigError if it is too short."""
        if len(self.text) < LEAST_CHARACTERS:
            raise ConfigError(
                f"The passphrase has fewer than {LEAST_CHARACTERS} characters.",
                "Choose a longer one, such as five words drawn at random.",
            )


class SealingWriter(io.BufferedIOBase):
    """Seals what is written, chunk by chunk. Make with `sealing`."""

    def __init__(self, target: BinaryIO, passphrase: Passphrase) -> None:
        salt = secrets.token_bytes(_SALT_BYTES)
        self._target, self._cipher = target, _cipher(passphrase, salt)
        self._header, self._open, self._number = MAGIC + salt, bytearray(), 0
        target.write(self._header + self._cipher.encrypt(_TAG_NONCE, b"", self._header))

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Take more of the stream; returns how many bytes, which is all of them."""
        taken = memoryview(data).nbytes
        self._open += data
        while len(self._open) > CHUNK_BYTES:  # the last chunk is known by the end alone
            self._seal(bytes(self._open[:CHUNK_BYTES]), is_last=False)
            del self._open[:CHUNK_BYTES]
        return taken

    def finish(self) -> None:
        """Seal the last chunk."""
        self._seal(bytes(self._open), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._number, is_last=is_last)
        self._target.write(self._cipher.encrypt(nonce, chunk, self._header))
        self._number += 1


@contextmanager
def sealing(target: BinaryIO, passphrase: Passphrase) -> Iterator[SealingWriter]:
    """Seal into a file what is written in the block; if that fails, the file has no end and never opens."""
    writer = SealingWriter(target, passphrase)
    yield writer
    writer.finish()


class UnsealingReader(io.BufferedIOBase):
    """Reads a sealed stream; each byte that it gives was verified, and the end is told only if it is the end.

    Raises
    ------
    ConfigError
        The file is no sealed stream.
    TrustError
        The passphrase is another.
    TamperedError
        From `read`: something was changed, or is missing.
    """

    def __init__(self, source: BinaryIO, passphrase: Passphrase) -> None:
        self._header, tag = source.read(len(MAGIC) + _SALT_BYTES), source.read(_TAG_BYTES)
        if not self._header.startswith(MAGIC) or len(tag) < _TAG_BYTES:
            raise ConfigError(
                "The file is not sealed by a passphrase, or by a later version.", "Name another file."
            )
        self._source, self._cipher = source, _cipher(passphrase, self._header[len(MAGIC) :])
        try:
            self._cipher.decrypt(_TAG_NONCE, tag, self._header)
        except InvalidTag as error:
            raise TrustError(
                "The passphrase does not open the file.", "Give the one that it was sealed by."
            ) from error
        self._open, self._number, self._is_over = bytearray(), 0, False
        self._ahead = source.read(CHUNK_BYTES + _TAG_BYTES)

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes more, or all that are left; fewer at the end alone."""
        wanted = sys.maxsize if size is None or size < 0 else size
        while len(self._open) < wanted and not self._is_over:
            self._unseal()
        taken = bytes(self._open[:wanted])
        del self._open[:wanted]
        return taken

    def drain(self) -> None:
        """Verify what is left, and forget it."""
        while self.read(CHUNK_BYTES):
            pass

    def _unseal(self) -> None:
        chunk, self._ahead = self._ahead, self._source.read(CHUNK_BYTES + _TAG_BYTES)
        self._is_over = not self._ahead
        try:
            self._open += self._cipher.decrypt(
                _nonce(self._number, is_last=self._is_over), chunk, self._header
            )
        except InvalidTag as error:
            raise TamperedError(
                "The sealed file was changed, or a part of it is missing.", "Use another copy."
            ) from error
        self._number += 1


def sealed(content: bytes, passphrase: Passphrase) -> bytes:
    """Something small, sealed."""
    target = io.BytesIO()
    with sealing(target, passphrase) as writer:
        writer.write(content)
    return target.getvalue()


def unsealed(content: bytes, passphrase: Passphrase) -> bytes:
    """What `sealed` has sealed. Raises as `UnsealingReader` does."""
    return UnsealingReader(io.BytesIO(content), passphrase).read()


def _cipher(passphrase: Passphrase, salt: bytes) -> ChaCha20Poly1305:
    text = unicodedata.normalize("NFC", passphrase.text).encode()
    return ChaCha20Poly1305(Scrypt(salt=salt, length=_KEY_BYTES, n=_SCRYPT_N, r=8, p=1).derive(text))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])
