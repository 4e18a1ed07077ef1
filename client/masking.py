"""A site's side of secure aggregation in one attempt: keys, shares, mask, signature, and what unmasks.

The coordinator is not believed. In each phase a site goes on only if

1. the phase is the one that follows, or is asked again in the very same words, and then gets the same
   answer;
2. roster: every site has signed its keys for this attempt, none is there twice, and this one's own keys are
   those that it gave; there are as many sites as the policy wants, and none of another signing key than it
   names, if it names any;
3. shares: no more sites are gone than may be, and this one is not;
4. survivors: they are among those who shared, this site is one of them, and no more are gone than may be;
5. signatures: so many survivors as the threshold have signed what this site has signed, to the last name.

So it never says both secrets of one site: `reveal` sorts the sites into survivors and others, once.

Secrets live in memory alone, for one attempt; a site whose process ends in the middle is lost to that
attempt.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.errors import MammofedError, MaskingError, PolicyError
from shared.masking.records import (
    MASK_KEYS_TYPE,
    SURVIVORS_TYPE,
    KeysTold,
    MaskKeys,
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
from shared.masking.sharing import SHARE_BYTES, split
from shared.masking.streams import Mask, adds, agreed_key, sealing_key
from shared.trust.agreement import KEY_BYTES, AgreementKey, seal_once, unseal_once
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey

KNOWN_KEYS, LEAST_SITES = "privacy.known_keys", "privacy.least_sites"
"""Rules of the policy that a roster can break."""


class Stage(StrEnum):
    """What a site has done last in an attempt."""

    KEYED = "keyed"
    SHARED = "shared"
    MASKED = "masked"
    SIGNED = "signed"
    REVEALED = "revealed"


NEXT_STAGES: Mapping[Stage, Stage] = {
    Stage.KEYED: Stage.SHARED,
    Stage.SHARED: Stage.MASKED,
    Stage.MASKED: Stage.SIGNED,
    Stage.SIGNED: Stage.REVEALED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a site's policy demands of an attempt.

    Attributes
    ----------
    least_sites
        So many sites at least share.
    known_keys
        Signing keys of other sites, as 64 hex digits: no others may take part. None lets any.
    """

    least_sites: int
    known_keys: frozenset[str] | None = None


@dataclass(slots=True, kw_only=True)
class Party:
    """One site in one attempt.

    Attributes
    ----------
    attempt
        Digest of the attempt's occasion.
    colluding, neighbours
        As the plan has them.
    least_survivors
        Sites without which the plan's noise is too little.
    """

    attempt: str
    site_id: str
    signing_key: SigningKey
    demands: Demands
    colluding: int
    neighbours: int | None
    least_survivors: int = 0
    stage: Stage = Stage.KEYED
    _mask_key: AgreementKey = field(default_factory=AgreementKey.generate, repr=False)
    _share_key: AgreementKey = field(default_factory=AgreementKey.generate, repr=False)
    _own: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    _keys: str = field(default="", repr=False)
    _roster: Roster | None = field(default=None, repr=False)
    _held: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    _sharers: tuple[str, ...] = ()
    _signed: Survivors | None = None
    _update_sha256: str = ""
    _answered: dict[Stage, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)

    def keys(self) -> KeysTold:
        """This site's fresh public keys, signed."""
        if not self._keys:
            keys = MaskKeys(
                attempt=self.attempt,
                site_id=self.site_id,
                mask_key=self._mask_key.public.hex(),
                share_key=self._share_key.public.hex(),
                own_sha256=hashlib.sha256(self._own).hexdigest(),
            )
            self._keys = sign(MASK_KEYS_TYPE, keys.to_bytes(), self.signing_key).to_bytes().decode()
        return KeysTold(keys=self._keys)

    def share(self, asked: RosterAsked) -> SharesTold:
        """Share this site's secrets among its neighbours and itself. Raises MaskingError."""
        if (again := self._again(Stage.SHARED, asked.to_bytes())) is not None:
            return SharesTold.from_bytes(again)
        roster = self._checked_roster(asked)
        own_shares, key_shares = (
            split(
                secret,
                threshold=roster.agreed.share_threshold,
                points=[roster.point(holder) for holder in roster.holders(self.site_id)],
            )
            for secret in (self._own, self._mask_key.raw)
        )
        sealed: dict[str, str] = {}
        for holder in roster.holders(self.site_id):
            own, agreed = own_shares[roster.point(holder)], key_shares[roster.point(holder)]
            if holder == self.site_id:
                self._held[holder] = own, agreed
                continue
            key = sealing_key(
                self._share_key,
                bytes.fromhex(roster.keys[holder].share_key),
                attempt=self.attempt,
                sender=self.site_id,
            )
            sealed[holder] = seal_once(key, own + agreed, roster.digest.encode()).hex()
        self._roster = roster
        return SharesTold.from_bytes(
            self._done(Stage.SHARED, asked.to_bytes(), SharesTold(shares=sealed).to_bytes())
        )

    def mask(self, asked: SharesAsked, *, update_sha256: str, common: str) -> Mask:
        """The mask for an update: for this one alone, however often it is asked for. Raises MaskingError.

        Parameters
        ----------
        update_sha256
            Of all that goes under the mask: the update, metrics as sums, or both.
        common
            See `shared.masking.streams.common_terms`.
        """
        request = asked.to_bytes() + update_sha256.encode() + common.encode()
        if self._again(Stage.MASKED, request) is None:
            self._take_shares(asked)
            self._update_sha256 = update_sha256
            self._done(Stage.MASKED, request, b"")
        roster = self._known_roster()
        agreed: dict[bool, list[bytes]] = {True: [self._own], False: []}
        for other in set(roster.neighbours[self.site_id]) & set(self._sharers):
            key = agreed_key(
                self._mask_key,
                bytes.fromhex(roster.keys[other].mask_key),
                attempt=self.attempt,
                common=common,
            )
            agreed[adds(self.site_id, other)].append(key)
        return Mask(adds=agreed[True], takes=agreed[False])

    @property
    def update_sha256(self) -> str:
        """Of the update that was masked; empty before."""
        return self._update_sha256

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of the signing keys of all that take part, by site id."""
        roster = self._known_roster()
        return tuple(roster.signing_key(site).key_id for site in roster.members)

    @property
    def num_sites(self) -> int:
        """Of how many updates a sum must have room."""
        return len(self._known_roster().members)

    def sign(
        self, asked: SurvivorsAsked, *, bind: Callable[[tuple[str, ...]], None] = lambda _survivors: None
    ) -> SurvivorsTold:
        """Sign whose updates the sum is of. Raises MaskingError.

        Parameters
        ----------
        bind
            Settles on these survivors for good, or raises MaskingError if others hold: before a signature is.
        """
        if (again := self._again(Stage.SIGNED, asked.to_bytes())) is not None:
            return SurvivorsTold.from_bytes(again)
        roster = self._known_roster()
        # 4.
        if not set(asked.survivors) <= set(self._sharers) or asked.survivors != tuple(
            sorted(set(asked.survivors))
        ):
            raise _refused("It names survivors who did not share, or not in their order.")
        if self.site_id not in asked.survivors:
            raise _refused("It wants this site's signature for a sum without its update.")
        _require_few_gone(roster, asked.survivors)
        if len(asked.survivors) < self.least_survivors:
            raise _refused("Fewer sites survive than the plan's noise is reckoned with.")
        bind(asked.survivors)
        self._signed = Survivors(
            attempt=self.attempt,
            site_id=self.site_id,
            roster=roster.digest,
            sharers=self._sharers,
            survivors=asked.survivors,
        )
        envelope = sign(SURVIVORS_TYPE, self._signed.to_bytes(), self.signing_key).to_bytes().decode()
        told = SurvivorsTold(survivors=envelope)
        return SurvivorsTold.from_bytes(self._done(Stage.SIGNED, asked.to_bytes(), told.to_bytes()))

    def reveal(self, asked: UnmaskAsked) -> SharesRevealed:
        """Say what takes the masks off the sum over those who have been signed for. Raises MaskingError."""
        if (again := self._again(Stage.REVEALED, asked.to_bytes())) is not None:
            return SharesRevealed.from_bytes(again)
        roster, signed = self._known_roster(), self._signed
        assert signed is not None
        # 5.
        signers = {_signer(each, roster, signed) for each in asked.signed}
        if len(signers) < roster.agreed.threshold:
            raise _refused("Fewer sites than the threshold have signed the survivors.")
        told = SharesRevealed(
            own={site: self._held[site][0].hex() for site in signed.survivors if site in self._held},
            agreed={
                site: self._held[site][1].hex()
                for site in signed.sharers
                if site in self._held and site not in signed.survivors
            },
        )
        return SharesRevealed.from_bytes(self._done(Stage.REVEALED, asked.to_bytes(), told.to_bytes()))

    def _again(self, stage: Stage, asked: bytes) -> bytes | None:
        """The answer if this was asked before; None if it is what comes next."""
        # 1.
        if (before := self._answered.get(stage)) is not None:
            if before[0] != asked:
                raise _refused("It asks for one phase of an attempt twice, in different words.")
            return before[1]
        if NEXT_STAGES.get(self.stage) is not stage:
            raise _refused(f"It asks for another phase than the one that follows on '{self.stage}'.")
        return None

    def _done(self, stage: Stage, asked: bytes, answer: bytes) -> bytes:
        self._answered[stage] = asked, answer
        self.stage = stage
        return answer

    def _known_roster(self) -> Roster:
        if self._roster is None:
            raise _refused("It asks for a phase before the one in which sites share their secrets.")
        return self._roster

    def _checked_roster(self, asked: RosterAsked) -> Roster:
        # 2.
        try:
            roster = read_roster(
                asked, attempt=self.attempt, colluding=self.colluding, neighbours=self.neighbours
            )
        except MammofedError as error:
            raise _refused(error.message) from error
        own = {site: member.keys for site, member in roster.members.items()}.get(self.site_id)
        if own is None or own != self.keys().keys:
            raise _refused("This site's own keys for masks are not the ones that it gave.")
        known = self.demands.known_keys
        others = {member.signing_key for site, member in roster.members.items() if site != self.site_id}
        if known is not None and not others <= known:
            raise _against(
                KNOWN_KEYS, "A site takes part whose signing key this site's policy does not name."
            )
        if len(roster.members) < self.demands.least_sites:
            raise _against(LEAST_SITES, "Fewer sites take part than this site's policy wants.")
        return roster

    def _take_shares(self, asked: SharesAsked) -> None:
        # 3.
        roster = self._known_roster()
        sharers = tuple(sorted(set(asked.sharers)))
        if sharers != asked.sharers or not set(sharers) <= roster.members.keys():
            raise _refused("It names sites as sharing that are not in the roster, or not in their order.")
        if self.site_id not in sharers:
            raise _refused("It says that this site has not shared its secrets.")
        _require_few_gone(roster, sharers)
        for sender in set(roster.neighbours[self.site_id]) & set(sharers) & asked.shares.keys():
            key = sealing_key(
                self._share_key,
                bytes.fromhex(roster.keys[sender].share_key),
                attempt=self.attempt,
                sender=sender,
            )
            try:
                both = unseal_once(key, bytes.fromhex(asked.shares[sender]), roster.digest.encode())
            except MammofedError:
                continue  # what a hostile site sealed wrongly is missing; the others have theirs
            self._held[sender] = both[:SHARE_BYTES], both[SHARE_BYTES:]
        self._sharers = sharers


@dataclass(slots=True)
class Parties:
    """This site's part in the newest attempt of each run; gone with the process."""

    _newest: dict[str, Party] = field(default_factory=dict)

    def begin(self, run_id: str, party: Party) -> Party:
        """Take part in an attempt: as before, if this one has begun already."""
        before = self._newest.get(run_id)
        if before is None or before.attempt != party.attempt:
            self._newest[run_id] = party
        return self._newest[run_id]

    def of(self, run_id: str, attempt: str) -> Party:
        """The part in an attempt that has begun. Raises MaskingError."""
        party = self._newest.get(run_id)
        if party is None or party.attempt != attempt:
            raise MaskingError(
                "What this site needs for the masks of an attempt is not here any more.",
                "It takes part again in the next attempt; its process was ended in the middle of this one.",
            )
        return party


def _require_few_gone(roster: Roster, left: tuple[str, ...]) -> None:
    if len(roster.members) - len(left) > roster.agreed.dropouts:
        raise _refused("More sites are gone than secure aggregation can bear.")


def _signer(envelope: str, roster: Roster, signed: Survivors) -> str:
    """Who signed the same survivors as this site."""
    try:
        content = Envelope.from_bytes(envelope.encode())
        named = Survivors.from_bytes(content.unverified_payload).site_id
        if named not in signed.survivors:
            raise _refused("Somebody has signed the survivors who is none of them.")
        told = Survivors.from_bytes(verify(content, SURVIVORS_TYPE, roster.signing_key(named)))
    except MaskingError:
        raise
    except MammofedError as error:
        raise _refused(error.message) from error
    if told != signed.model_copy(update={"site_id": named}):
        raise _refused("Another site has signed other survivors.")
    return named


def _against(rule: str, message: str) -> PolicyError:
    return PolicyError(message, f"`{rule}` in policy.toml says which; ask the coordinator.", rules=(rule,))


def _refused(reason: str) -> MaskingError:
    return MaskingError(f"What was asked could uncover an update. {reason}", "Tell the coordinator.")
