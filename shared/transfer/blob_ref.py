"""The name of a blob, as messages and manifests carry it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from shared.errors import TransferError

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """What a blob is called and how large it is.

    Attributes
    ----------
    digest
        Hex SHA-256 of its bytes, lower case.
    size_bytes
        Its length; not negative.

    Raises
    ------
    TransferError
        The digest or the size cannot be a blob's.
    """

    digest: str
    size_bytes: int

    def __post_init__(self) -> None:
        check_digest(self.digest)
        if self.size_bytes < 0:
            raise TransferError("A blob's size is negative.", "Ask the sender for the reference again.")

    @classmethod
    def of(cls, content: bytes) -> BlobRef:
        """The reference of these bytes."""
        return cls(digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def check_digest(digest: str) -> None:
    """Return only if this is 64 lower-case hex digits, thus safe as a file name. Raises TransferError."""
    if not _DIGEST.fullmatch(digest):
        raise TransferError("A blob's digest is malformed.", "Ask the sender for the reference again.")
