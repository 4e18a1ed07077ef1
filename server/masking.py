"""The coordinator's side of secure aggregation in one attempt: it passes on, and takes masks off a sum.

All that it ever holds of updates is masked ones and their sum. Phases follow one another as `Phase` has
them; what a site tells in each is checked here, so that one that tells nonsense is rejected at once and the
round goes on without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from shared.errors import AdmissionError, AggregationError, MammofedError, TamperedError
from shared.fixed_point.sums import IntegerSum
from shared.masking.agreed import LEAST_SITES
from shared.masking.records import (
    MASK_KEYS_TYPE,
    SURVIVORS_TYPE,
    KeysTold,
    MaskingAsked,
    MaskKeys,
    Member,
    RosterAsked,
    SharesAsked,
    SharesRevealed,
    SharesTold,
    Survivors,
    SurvivorsAsked,
    SurvivorsTold,
    UnmaskAsked,
)
from shared.masking.roster import Roster, read_roster
from shared.masking.sharing import join
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import Mask, adds, agreed_key
from shared.records import Phase
from shared.trust.agreement import AgreementKey
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey


@dataclass(slots=True, kw_only=True)
class MaskedRound:
    """One attempt: what is asked in each phase, what is told, and what follows when a phase is closed.

    Attributes
    ----------
    attempt
        Digest of its occasion.
    colluding, neighbours
        As the plan has them.
    common
        See `shared.masking.streams.common_terms`.
    """

    attempt: str
    common: str
    colluding: int
    neighbours: int | None
    _members: dict[str, Member] = field(default_factory=dict)
    _roster: Roster | None = None
    _roster_asked: RosterAsked | None = None
    _shares: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _sharers: tuple[str, ...] = ()
    _masked: set[str] = field(default_factory=set)
    _survivors: tuple[str, ...] = ()
    _signed: dict[str, str] = field(default_factory=dict)
    _revealed: dict[str, SharesRevealed] = field(default_factory=dict)

    def asked(self, phase: Phase, site_id: str) -> MaskingAsked | None:
        """What a site is asked in a phase, once the phase before it is closed."""
        match phase:
            case Phase.SHARES:
                return self._roster_asked
            case Phase.TRAIN | Phase.EVALUATE:
                return self._shares_for(site_id)
            case Phase.SURVIVORS:
                return SurvivorsAsked(survivors=self._survivors)
            case Phase.UNMASK:
                return UnmaskAsked(signed=tuple(self._signed[site] for site in sorted(self._signed)))
            case _:
                return None

    def take_keys(self, site_id: str, told: KeysTold, signing_key: VerifyKey) -> None:
        """Remember a site's signed keys. Raises AdmissionError."""
        keys = _verified(MaskKeys, told.keys, MASK_KEYS_TYPE, signing_key)
        if (keys.site_id, keys.attempt) != (site_id, self.attempt):
            raise _rejected("Its keys for masks are of another site or attempt.")
        self._members[site_id] = Member(keys=told.keys, signing_key=signing_key.raw.hex())

    def take_shares(self, site_id: str, told: SharesTold) -> None:
        """Remember what a site shares. Raises AdmissionError."""
        if told.shares.keys() != set(self.roster.neighbours[site_id]):
            raise _rejected("It shares its secrets with other sites than those that it should.")
        self._shares[site_id] = told.shares

    def take_masked(self, site_id: str) -> None:
        """Note that what a site has masked is in the sum."""
        self._masked.add(site_id)

    def take_signed(self, site_id: str, told: SurvivorsTold) -> None:
        """Remember a site's signature under the survivors. Raises AdmissionError."""
        key = self.roster.signing_key(site_id)
        signed = _verified(Survivors, told.survivors, SURVIVORS_TYPE, key)
        expected = Survivors(
            attempt=self.attempt,
            site_id=site_id,
            roster=self.roster.digest,
            sharers=self._sharers,
            survivors=self._survivors,
        )
        if signed != expected:
            raise _rejected("It has signed other survivors.")
        self._signed[site_id] = told.survivors

    def take_revealed(self, site_id: str, told: SharesRevealed) -> None:
        """Remember a site's shares of the others' secrets. Raises AdmissionError."""
        gone = set(self._sharers) - set(self._survivors)
        if not told.own.keys() <= set(self._survivors) or not told.agreed.keys() <= gone:
            raise _rejected("It tells shares of secrets that were not asked for.")
        self._revealed[site_id] = told

    def close(self, phase: Phase) -> None:
        """Nobody answers in a phase any more.

        Raises
        ------
        AggregationError, PlanError, TrustError
            Too few have answered, or what they told does not go together: the attempt is void.
        """
        match phase:
            case Phase.KEYS:
                members = tuple(self._members[site] for site in sorted(self._members))
                self._roster_asked = RosterAsked(members=members)
                self._roster = read_roster(
                    self._roster_asked,
                    attempt=self.attempt,
                    colluding=self.colluding,
                    neighbours=self.neighbours,
                )
            case Phase.SHARES:
                self._sharers = self._left(self._shares)
            case Phase.TRAIN | Phase.EVALUATE:
                self._survivors = self._left(self._masked)
            case Phase.SURVIVORS if len(self._signed) < self.roster.agreed.threshold:
                raise _too_few()
            case _:
                pass

    def least(self, phase: Phase) -> int:
        """Answers without which the attempt comes to nothing, as far as is known when a phase begins."""
        if self._roster is None:
            return max(LEAST_SITES, self.colluding + 2)
        agreed = self._roster.agreed
        is_for_all = phase in {Phase.SHARES, Phase.TRAIN, Phase.EVALUATE}
        return agreed.num_sites - agreed.dropouts if is_for_all else agreed.threshold

    @property
    def survivors(self) -> frozenset[str]:
        """Whose updates or metrics the sum is of; known once the phase is closed in which they come."""
        return frozenset(self._survivors)

    def unmask(self, total: IntegerSum, noise: SiteNoise | None = None) -> Mask:
        """Take the masks off the sum of the survivors' updates.

        Parameters
        ----------
        noise
            What each site has added to its update.

        Returns
        -------
        The mask, whose next words are on the sum of what sites sent beside their updates.

        Raises
        ------
        AggregationError
            Too few shares were told, they do not fit together, or what is left is no sum of so many updates.
        """
        num_sites = self.roster.agreed.num_sites
        ring = total.ring_bits(num_sites) if noise is None else noise.ring_bits(num_sites)
        furthest = 0 if noise is None else noise.furthest(num_sites)
        mask = self.mask_of_sum()
        total.take_off(mask.words, ring=ring, furthest=furthest)
        return mask

    def mask_of_sum(self) -> Mask:
        """What masks the sum over the survivors, from what they have told. Raises AggregationError."""
        streams: dict[bool, list[bytes]] = {True: [], False: []}
        for adding, key in chain(self._own_streams(), self._agreed_streams()):
            streams[adding].append(key)
        return Mask(adds=streams[True], takes=streams[False])

    @property
    def roster(self) -> Roster:
        """Who takes part; known once keys are closed."""
        assert self._roster is not None
        return self._roster

    def _own_streams(self) -> list[tuple[bool, bytes]]:
        """The survivors' own streams."""
        streams = []
        for site in self._survivors:
            own = self._secret_of(site, {by: told.own for by, told in self._revealed.items()})
            if hashlib.sha256(own).hexdigest() != self.roster.keys[site].own_sha256:
                raise _unfitting()
            streams.append((True, own))
        return streams

    def _agreed_streams(self) -> list[tuple[bool, bytes]]:
        """What is left in the sum of the streams that survivors have agreed on with those who are gone."""
        streams = []
        for gone in sorted(set(self._sharers) - set(self._survivors)):
            left = set(self.roster.neighbours[gone]) & set(self._survivors)
            if not left:
                continue
            told = {by: each.agreed for by, each in self._revealed.items()}
            key = AgreementKey.of(self._secret_of(gone, told))
            if key.public.hex() != self.roster.keys[gone].mask_key:
                raise _unfitting()
            streams += [
                (
                    adds(site, gone),
                    agreed_key(
                        key,
                        bytes.fromhex(self.roster.keys[site].mask_key),
                        attempt=self.attempt,
                        common=self.common,
                    ),
                )
                for site in sorted(left)
            ]
        return streams

    def _secret_of(self, site_id: str, told: Mapping[str, Mapping[str, str]]) -> bytes:
        """The secret of a site, from the shares of it that others have told."""
        shares = {
            self.roster.point(by): bytes.fromhex(shares[site_id])
            for by, shares in told.items()
            if site_id in shares and by in self.roster.holders(site_id)
        }
        threshold = self.roster.agreed.share_threshold
        if len(shares) < threshold:
            raise _too_few()
        try:
            return join(shares, threshold=threshold)
        except TamperedError as error:
            raise _unfitting() from error

    def _shares_for(self, site_id: str) -> SharesAsked:
        theirs = {
            sender: shares[site_id] for sender, shares in sorted(self._shares.items()) if site_id in shares
        }
        return SharesAsked(sharers=self._sharers, shares=theirs)

    def _left(self, site_ids: Collection[str]) -> tuple[str, ...]:
        if len(self.roster.members) - len(site_ids) > self.roster.agreed.dropouts:
            raise _too_few()
        return tuple(sorted(site_ids))


Told = TypeVar("Told", MaskKeys, Survivors)


def _verified(kind: type[Told], envelope: str, payload_type: str, key: VerifyKey) -> Told:
    try:
        return kind.from_bytes(verify(Envelope.from_bytes(envelope.encode()), payload_type, key))
    except MammofedError as error:
        raise _rejected(error.message) from error


def _rejected(reason: str) -> AdmissionError:
    return AdmissionError(f"A site's part in masking was rejected. {reason}", "Ask the site for its log.")


def _too_few() -> AggregationError:
    return AggregationError(
        "More sites have left a round than secure aggregation bears.",
        "The round is tried again; `run show` tells what became of each site.",
    )


def _unfitting() -> AggregationError:
    return AggregationError(
        "The shares that sites told do not take the masks off.",
        "The round is tried again; if it recurs, a site is hostile or runs another version.",
    )
