"""What a record of what coordinator and sites say to each other is: frozen, strict, in one canonical form.

A record travels as the payload of a signed envelope (`shared.trust.envelope`): canonical JSON, strict on
reading, versioned by `PROTOCOL`. It is parsed only after its signature was verified.
"""

from __future__ import annotations

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import TransferError, TrustError, VersionError

PROTOCOL, MOST_PROTOCOL = 2, 10_000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Record(BaseModel):
    """What travels as a signed payload: frozen, strict, in one canonical form."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no white space, UTF-8."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read a verified payload.

        Raises
        ------
        VersionError
            The payload is of another version of the protocol.
        TrustError
            It is not of this form.
        """
        try:
            return cls.model_validate_json(payload)
        except (ValidationError, TransferError) as error:
            if (spoken := _protocol_of(payload)) not in {None, PROTOCOL}:
                raise VersionError(
                    f"A signed {cls.__name__.lower()} is of protocol {spoken}; this side speaks {PROTOCOL}.",
                    "Coordinator and site must run the same or neighbouring minor versions of mammofed.",
                ) from error
            raise TrustError(
                f"A signed {cls.__name__.lower()} has an unknown form.",
                "Coordinator and site must run the same or neighbouring minor versions of mammofed.",
            ) from error


def _protocol_of(payload: bytes) -> int | None:
    """The version of the protocol that an unreadable payload says it is of."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    places = [document, document.get("occasion")] if isinstance(document, dict) else []
    spoken = [place["protocol"] for place in places if isinstance(place, dict) and "protocol" in place]
    return spoken[0] if spoken and type(spoken[0]) is int and 0 <= spoken[0] <= MOST_PROTOCOL else None
