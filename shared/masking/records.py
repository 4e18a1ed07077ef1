"""What the sites say to each other by way of the coordinator, and what each of them is asked and tells.

What goes from site to site is signed, or sealed for one of them: the coordinator passes it on and can
neither change nor read it. All of it belongs to one attempt at one round; `attempt` is the digest of its
occasion (`shared.records.Occasion.attempt_sha256`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from shared.masking.sharing import SHARE_BYTES
from shared.record import Identifier, Record, Sha256
from shared.trust.agreement import KEY_BYTES, TAG_BYTES

MASK_KEYS_TYPE = "application/vnd.mammofed.mask-keys+json"
SURVIVORS_TYPE = "application/vnd.mammofed.survivors+json"

MAX_SITES = 10_000
MAX_SIGNED_CHARACTERS = 1_000_000


def _hex(num_bytes: int) -> str:
    return rf"^[0-9a-f]{{{2 * num_bytes}}}$"


Signed = Annotated[str, Field(min_length=1, max_length=MAX_SIGNED_CHARACTERS)]
"""The JSON of a signed envelope."""
Key = Annotated[str, Field(pattern=_hex(KEY_BYTES))]
Share = Annotated[str, Field(pattern=_hex(SHARE_BYTES))]
SealedShares = Annotated[str, Field(pattern=_hex(2 * SHARE_BYTES + TAG_BYTES))]
"""A share of a site's own secret and one of its key for masks, for one other site."""
Sites = Annotated[tuple[Identifier, ...], Field(max_length=MAX_SITES)]


class MaskKeys(Record):
    """Fresh public keys of one site for one attempt.

    Attributes
    ----------
    mask_key, share_key
        X25519: for the streams that it agrees on, and for the shares that it is sent.
    own_sha256
        Of the key of its own stream, so that a wrong one is noticed.
    """

    attempt: Sha256
    site_id: Identifier
    mask_key: Key
    share_key: Key
    own_sha256: Sha256


class Survivors(Record):
    """Whose updates a sum is of; what a site signs, it unmasks.

    Attributes
    ----------
    roster
        Digest of all sites' signed keys.
    sharers, survivors
        Who has shared its secrets, and who of them has sent an update; in sorted order.
    """

    attempt: Sha256
    site_id: Identifier
    roster: Sha256
    sharers: Sites
    survivors: Sites


class Member(Record):
    """A site's signed `MaskKeys` with the key that they are signed by."""

    keys: Signed
    signing_key: Key


class RosterAsked(Record):
    """To share its secrets among these."""

    kind: Literal["roster"] = "roster"
    members: Annotated[tuple[Member, ...], Field(max_length=MAX_SITES)]


class SharesAsked(Record):
    """To mask its update, with the shares that were sent to it, by their senders."""

    kind: Literal["shares"] = "shares"
    sharers: Sites
    shares: Mapping[Identifier, SealedShares]


class SurvivorsAsked(Record):
    """To sign who survives."""

    kind: Literal["survivors"] = "survivors"
    survivors: Sites


class UnmaskAsked(Record):
    """To say what unmasks the sum of those who survive; they have signed it."""

    kind: Literal["unmask"] = "unmask"
    signed: Annotated[tuple[Signed, ...], Field(max_length=MAX_SITES)]


MaskingAsked = Annotated[
    RosterAsked | SharesAsked | SurvivorsAsked | UnmaskAsked, Field(discriminator="kind")
]


class KeysTold(Record):
    """A site's signed `MaskKeys`."""

    kind: Literal["keys"] = "keys"
    keys: Signed


class SharesTold(Record):
    """Shares of a site's secrets, each sealed for the site that it is for."""

    kind: Literal["shares"] = "shares"
    shares: Mapping[Identifier, SealedShares]


class SurvivorsTold(Record):
    """A site's signed `Survivors`."""

    kind: Literal["survivors"] = "survivors"
    survivors: Signed


class SharesRevealed(Record):
    """A site's shares of other sites' secrets, and of its own.

    Attributes
    ----------
    own
        Of the key of each survivor's own stream.
    agreed
        Of the private key for masks of each site that shared and did not survive.
    """

    kind: Literal["revealed"] = "revealed"
    own: Mapping[Identifier, Share]
    agreed: Mapping[Identifier, Share]


MaskingTold = Annotated[KeysTold | SharesTold | SurvivorsTold | SharesRevealed, Field(discriminator="kind")]
