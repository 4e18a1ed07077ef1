"""What the coordinator tells its sites of the published models: which there are, and which may be used.

The list is a signed payload that a site asks for whenever its digest has changed. A site keeps the state of
each model and moves it forward alone, so that an old list said again takes no revocation back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.consent.records import Protocol, is_plain
from shared.record import PROTOCOL, Record
from shared.records import MAX_REASON_CHARACTERS
from shared.supplements import SupplementKind
from shared.transfer.blob_ref import BlobRef

PUBLISHED_TYPE = "application/vnd.mammofed.published+json"


class ModelState(StrEnum):
    """What a published model may be used for: to be looked at, in the clinic, for nothing any more."""

    CANDIDATE = "candidate"
    RELEASED = "released"
    REVOKED = "revoked"


MODEL_TRANSITIONS: Mapping[ModelState, frozenset[ModelState]] = {
    ModelState.CANDIDATE: frozenset({ModelState.RELEASED, ModelState.REVOKED}),
    ModelState.RELEASED: frozenset({ModelState.REVOKED}),
    ModelState.REVOKED: frozenset(),
}


def _plain(reason: str) -> str:
    if not is_plain(reason):
        raise ValueError("not a plain sentence")
    return reason


class PublishedModel(Record):
    """One model as the coordinator has it.

    Attributes
    ----------
    manifest, signature
        The two blobs from which all others of its package follow.
    created_at
        Seconds since the Unix epoch.
    reason
        Why it was revoked, in plain words; empty if it was not.
    supplements
        What its evaluation has shown, so far; none is taken back or replaced.
    """

    model_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]
    state: ModelState
    manifest: BlobRef
    signature: BlobRef
    created_at: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS), AfterValidator(_plain)] = ""
    supplements: dict[SupplementKind, BlobRef] = Field(default_factory=dict)


class PublishedModels(Record):
    """Every published model, oldest first."""

    protocol: Protocol = PROTOCOL
    models: tuple[PublishedModel, ...]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the payload: what a site compares with the list that it has."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
