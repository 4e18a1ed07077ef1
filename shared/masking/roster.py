"""All sites of one attempt with their signed keys: alike at every site, or the attempt is void."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import TrustError
from shared.masking.agreed import Agreed, neighbours_of
from shared.masking.records import MASK_KEYS_TYPE, MaskKeys, Member, RosterAsked
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who takes part, by site id in sorted order.

    Attributes
    ----------
    digest
        Hex SHA-256 of all signed keys with the keys that they are signed by.
    neighbours
        With whom each site agrees on keys.
    """

    members: Mapping[str, Member]
    keys: Mapping[str, MaskKeys]
    agreed: Agreed
    digest: str
    neighbours: Mapping[str, tuple[str, ...]]

    def point(self, site_id: str) -> int:
        """The point that a site's shares are for, from 1."""
        return list(self.members).index(site_id) + 1

    def holders(self, site_id: str) -> tuple[str, ...]:
        """Who holds the shares of a site's secrets: its neighbours and itself."""
        return tuple(sorted((site_id, *self.neighbours[site_id])))

    def signing_key(self, site_id: str) -> VerifyKey:
        """The key that a site signs with."""
        return VerifyKey(bytes.fromhex(self.members[site_id].signing_key))


def read_roster(asked: RosterAsked, *, attempt: str, colluding: int, neighbours: int | None) -> Roster:
    """Verify every signature of a roster.

    Raises
    ------
    TrustError
        Keys are not signed by the key beside them, are of another attempt, or a site or a key is there twice.
    PlanError
        There are too few sites.
    """
    keys: dict[str, MaskKeys] = {}
    for member in asked.members:
        signing_key = VerifyKey(bytes.fromhex(member.signing_key))
        told = MaskKeys.from_bytes(
            verify(Envelope.from_bytes(member.keys.encode()), MASK_KEYS_TYPE, signing_key)
        )
        if told.attempt != attempt:
            raise _wrong("A site's keys for masks are of another attempt.")
        if told.site_id in keys:
            raise _wrong("A site takes part twice.")
        keys[told.site_id] = told
    if list(keys) != sorted(keys):
        raise _wrong("The sites that take part are not in their order.")
    public = [key for told in keys.values() for key in (told.mask_key, told.share_key)]
    signing = [member.signing_key for member in asked.members]
    if len(set(public)) < len(public) or len(set(signing)) < len(signing):
        raise _wrong("Two sites have one key.")
    digest = hashlib.sha256(asked.to_bytes()).hexdigest()
    agreed = Agreed(num_sites=len(keys), colluding=colluding, neighbours=neighbours)
    return Roster(
        members=dict(zip(keys, asked.members, strict=True)),
        keys=keys,
        agreed=agreed,
        digest=digest,
        neighbours=neighbours_of(list(keys), agreed, salt=digest.encode()),
    )


def _wrong(message: str) -> TrustError:
    return TrustError(message, "Tell the coordinator.")
