"""Checkpoints: a side vouches for its history to the other side.

A chain alone shows a careless edit; whoever owns the whole log can compute it anew after an edit. So each
side signs where its log stands, gives that to the other with what they say to each other anyway, and keeps
what it is given. From then on a history that was shown cannot be rewritten or cut unseen by its own keeper.
What no checkpoint covers yet, the lines since the last exchange, rests on the chain alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.audit.chain import AuditLine, Break, Verified, verify_chain
from shared.errors import TrustError
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey, VerifyKey

CHECKPOINT_TYPE = "application/vnd.mammofed.audit-checkpoint+json"


class Checkpoint(BaseModel):
    """Where a log stood.

    Attributes
    ----------
    side
        Whose log: `coordinator` or a site id.
    sequence, head
        Number and hash of its last line; 0 and `GENESIS` of an empty log.
    at_ms
        Milliseconds since the Unix epoch, by that side's clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    side: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    sequence: Annotated[int, Field(ge=0, lt=2**53)]
    head: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    at_ms: Annotated[int, Field(ge=0, lt=2**53)]


class Contradiction(StrEnum):
    """Why two checkpoints of one side cannot both be true."""

    FORKED = "two histories of the same length"
    CUT = "a later history is shorter"


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Envelope:
    """Vouch for a checkpoint."""
    payload = json.dumps(checkpoint.model_dump(), sort_keys=True, separators=(",", ":")).encode()
    return sign(CHECKPOINT_TYPE, payload, key)


def open_checkpoint(envelope: Envelope, *, of: str, key: VerifyKey) -> Checkpoint:
    """The checkpoint in an envelope, if that side signed it for its own log.

    Raises
    ------
    TrustError
        It is another kind of document, another side's, or signed by another key.
    TamperedError
        The signature does not fit.
    """
    payload = verify(envelope, CHECKPOINT_TYPE, key)
    try:
        checkpoint = Checkpoint.model_validate_json(payload)
    except ValidationError as error:
        raise TrustError(
            "A signed checkpoint of an audit log has an unknown form.",
            "Coordinator and site must run the same or neighbouring minor versions of mammofed.",
        ) from error
    if checkpoint.side != of:
        raise TrustError(
            "A checkpoint vouches for the audit log of another side than its sender's.",
            "Do not trust this sender's audit log; ask by a second way, such as the telephone.",
        )
    return checkpoint


def contradiction(kept: Iterable[Checkpoint], new: Checkpoint) -> Contradiction | None:
    """Whether a new checkpoint of a side cannot be true together with those kept of it.

    An old checkpoint that comes late is no contradiction: it is shorter, and earlier too.
    """
    for old in kept:
        if new.sequence == old.sequence and new.head != old.head:
            return Contradiction.FORKED
        if new.sequence < old.sequence and new.at_ms > old.at_ms:
            return Contradiction.CUT
    return None


def verify_against(lines: Iterable[AuditLine], checkpoints: Sequence[Checkpoint]) -> Verified | Break:
    """Whether lines form an unbroken chain that passes through every checkpoint of their side.

    The checkpoints must have been opened by `open_checkpoint`, or kept by a log that did.
    """
    heads: dict[int, set[str]] = {}
    for checkpoint in checkpoints:
        heads.setdefault(checkpoint.sequence, set()).add(checkpoint.head)
    outcome = verify_chain(lines, known=heads)
    if isinstance(outcome, Break):
        return outcome
    return replace(outcome, num_checkpoints=len(checkpoints))
