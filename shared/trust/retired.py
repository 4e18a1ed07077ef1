"""What the coordinator signed stays good after it has exchanged its key, if it was signed before that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.errors import TrustError
from shared.trust.anchors import RetiredKey
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey


def verify_by_any(
    envelope: Envelope, payload_type: str, key: VerifyKey, retired: Sequence[RetiredKey]
) -> tuple[bytes, float]:
    """The payload, and until when (seconds since the epoch) its signer's word was good. Raises as `verify`.

    Parameters
    ----------
    key
        The coordinator's signing key.
    retired
        Its keys before, each good for what it signed until it was retired.
    """
    signer = next((one for one in retired if one.key.key_id == envelope.key_id), None)
    payload = verify(envelope, payload_type, signer.key if signer else key)
    return payload, signer.retired_at if signer else math.inf


def require_signed_in_time(made_at: float, good_until: float) -> None:
    """Raise TrustError where something says that it was made after its signer's key was retired."""
    if made_at > good_until:
        raise TrustError(
            "The model was signed by a key of the coordinator that had been retired.",
            "Do not use it, and tell the coordinator: somebody else may hold that key.",
        )
