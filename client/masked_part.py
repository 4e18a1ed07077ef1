"""A site's part in secure aggregation: one answer for each phase, and its update under a mask."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from client.guard import Guard
from client.masking import Demands, Parties, Party
from client.store.signed_survivors import SignedSurvivors
from shared.errors import MaskingError
from shared.masking.records import (
    MaskingTold,
    RosterAsked,
    SharesAsked,
    SurvivorsAsked,
    UnmaskAsked,
)
from shared.masking.streams import Mask
from shared.plan import Plan
from shared.records import Announcement, Phase
from shared.trust.keys import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPart:
    """A site's part in the masking of rounds; its secrets are in memory alone."""

    guard: Guard
    signed: SignedSurvivors
    parties: Parties

    def tell(self, announcement: Announcement, plan: Plan, signing_key: SigningKey) -> MaskingTold:
        """What is to be told in a phase for masks. Raises MaskingError or PolicyError."""
        occasion, asked = announcement.occasion, announcement.masking
        if occasion.phase is Phase.KEYS and asked is None:
            return self._begin(announcement, plan, signing_key).keys()
        party = self.parties.of(occasion.run_id, occasion.attempt_sha256)
        match asked:
            case RosterAsked() if occasion.phase is Phase.SHARES:
                return party.share(asked)
            case SurvivorsAsked() if occasion.phase is Phase.SURVIVORS:
                bind = partial(
                    self.signed.bind,
                    occasion,
                    update_sha256=party.update_sha256,
                    key_ids=party.key_ids,
                    at=time.time(),
                )
                return party.sign(asked, bind=bind)
            case UnmaskAsked() if occasion.phase is Phase.UNMASK:
                return party.reveal(asked)
            case _:
                raise _misplaced()

    def require_begun(self, announcement: Announcement) -> None:
        """Return only if an update could be masked: before it is computed. Raises MaskingError."""
        if not isinstance(announcement.masking, SharesAsked):
            raise _misplaced()
        self.parties.of(announcement.occasion.run_id, announcement.occasion.attempt_sha256)

    def num_sites(self, announcement: Announcement) -> int:
        """Of how many sites a sum of the attempt may be. Raises MaskingError."""
        return self.parties.of(announcement.occasion.run_id, announcement.occasion.attempt_sha256).num_sites

    def mask(self, announcement: Announcement, *, update_sha256: str, common: str) -> tuple[Mask, int]:
        """The mask for what is sent, and of how many sites a sum may be. Raises MaskingError.

        Parameters
        ----------
        update_sha256
            Of all that goes under it.
        """
        if not isinstance(announcement.masking, SharesAsked):
            raise _misplaced()
        party = self.parties.of(announcement.occasion.run_id, announcement.occasion.attempt_sha256)
        mask = party.mask(announcement.masking, update_sha256=update_sha256, common=common)
        return mask, party.num_sites

    def _begin(self, announcement: Announcement, plan: Plan, signing_key: SigningKey) -> Party:
        occasion, privacy = announcement.occasion, self.guard.policy().privacy
        known = None if privacy.known_keys is None else frozenset(privacy.known_keys)
        party = Party(
            attempt=occasion.attempt_sha256,
            site_id=occasion.site_id,
            signing_key=signing_key,
            demands=Demands(least_sites=privacy.least_sites, known_keys=known),
            colluding=plan.privacy.colluding_sites,
            neighbours=plan.privacy.neighbours,
            least_survivors=plan.rounds.quorum if plan.privacy.site_noise else 0,
        )
        return self.parties.begin(occasion.run_id, party)


def _misplaced() -> MaskingError:
    return MaskingError(
        "What was asked could uncover an update. It asks for another thing than its phase is for.",
        "Tell the coordinator.",
    )
