"""A coordinator that wants to see one site's update, and a site that does not let it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from client.masking import NEXT_STAGES, Demands, Party, Stage
from shared.errors import MaskingError, PolicyError
from shared.masking.records import (
    MASK_KEYS_TYPE,
    SURVIVORS_TYPE,
    MaskKeys,
    Member,
    RosterAsked,
    SharesAsked,
    Survivors,
    SurvivorsAsked,
    UnmaskAsked,
)
from shared.trust.agreement import AgreementKey
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import SigningKey
from tests.unit.masking.masked_sites import MaskedSites, attempt_named

UPDATE = hashlib.sha256(b"update").hexdigest()
COMMON = "one grid, one whole"
VICTIM = "site-00"


def keys_of(site_id: str, key: SigningKey, *, attempt: str) -> Member:
    """Keys for masks of a site that the coordinator has made up or speaks for."""
    keys = MaskKeys(
        attempt=attempt,
        site_id=site_id,
        mask_key=AgreementKey.generate().public.hex(),
        share_key=AgreementKey.generate().public.hex(),
        own_sha256="0" * 64,
    )
    envelope = sign(MASK_KEYS_TYPE, keys.to_bytes(), key)
    return Member(keys=envelope.to_bytes().decode(), signing_key=key.verify_key.raw.hex())


def replaced(roster: RosterAsked, place: int, member: Member) -> RosterAsked:
    members = list(roster.members)
    members[place] = member
    return RosterAsked(members=tuple(members))


def until_masked(sites: MaskedSites) -> SurvivorsAsked:
    names = list(sites.parties)
    sites.share(sites.key(), names)
    return sites.mask(sites.updates(0), names)[1]


def test_key_substitution_keys_that_the_coordinator_signs_are_not_those_that_the_site_knows() -> None:
    """An active coordinator in the middle, against a policy that names the other sites' keys."""
    signing = {f"site-{number:02}": SigningKey.generate() for number in range(3)}
    known = frozenset(key.verify_key.raw.hex() for key in signing.values())
    demands = Demands(least_sites=3, known_keys=known)
    sites = MaskedSites(num_sites=3, signing_keys=signing, demands=demands)
    roster = sites.key()
    middle = keys_of("site-01", SigningKey.generate(), attempt=sites.attempt)

    with pytest.raises(PolicyError, match="policy does not name") as refused:
        sites.parties[VICTIM].share(replaced(roster, 1, middle))

    assert refused.value.rules == ("privacy.known_keys",)
    assert sites.parties[VICTIM].stage is Stage.KEYED
    assert sites.parties[VICTIM].share(roster).shares.keys() == {"site-01", "site-02"}


def test_key_substitution_keys_under_the_signature_of_another_are_refused() -> None:
    sites = MaskedSites(num_sites=3)
    roster = sites.key()
    made_up = keys_of("site-01", SigningKey.generate(), attempt=sites.attempt)
    beside_the_true_key = made_up.model_copy(update={"signing_key": roster.members[1].signing_key})

    with pytest.raises(MaskingError, match="signed by another key"):
        sites.parties[VICTIM].share(replaced(roster, 1, beside_the_true_key))


def test_key_substitution_in_some_rosters_alone_lets_nobody_unmask() -> None:
    """The victim sees made-up keys, the others the true ones: what they sign is of different rosters."""
    sites = MaskedSites(num_sites=3)
    roster = sites.key()
    false = replaced(roster, 1, keys_of("site-01", SigningKey.generate(), attempt=sites.attempt))
    victim = sites.parties[VICTIM]
    victim.share(false)
    sites.share(roster, ["site-01", "site-02"])
    everybody = tuple(sites.parties)
    asked = SurvivorsAsked(survivors=everybody)
    for party in sites.parties.values():
        party.mask(SharesAsked(sharers=everybody, shares={}), update_sha256=UPDATE, common=COMMON)
    signed = UnmaskAsked(signed=tuple(party.sign(asked).survivors for party in sites.parties.values()))

    for party in sites.parties.values():
        with pytest.raises(MaskingError):
            party.reveal(signed)


def test_replay_keys_of_an_earlier_attempt_are_refused() -> None:
    earlier = MaskedSites(num_sites=3)
    old = earlier.key()
    sites = MaskedSites(num_sites=3, attempt=attempt_named("second"), signing_keys=earlier.signing_keys)
    roster = sites.key()

    with pytest.raises(MaskingError, match="of another attempt"):
        sites.parties[VICTIM].share(replaced(roster, 2, old.members[2]))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda members, own: members[1:], "own keys"),
        (lambda members, own: (own, *members[1:]), "own keys"),
        (lambda members, own: (*members, members[-1]), "twice"),
        (lambda members, own: members[::-1], "not in their order"),
        (lambda members, own: members[:2], "at least 3 sites"),
    ],
)
def test_a_roster_that_is_not_in_order_is_refused(
    harm: Callable[[tuple[Member, ...], Member], tuple[Member, ...]], reason: str
) -> None:
    sites = MaskedSites(num_sites=4)
    roster = sites.key()
    own = keys_of(VICTIM, sites.signing_keys[VICTIM], attempt=sites.attempt)

    with pytest.raises(MaskingError, match=reason):
        sites.parties[VICTIM].share(RosterAsked(members=tuple(harm(roster.members, own))))


def test_sybil_one_signing_key_is_not_two_sites() -> None:
    sites = MaskedSites(num_sites=3)
    roster = sites.key()
    twin = keys_of("site-02", sites.signing_keys["site-01"], attempt=sites.attempt)

    with pytest.raises(MaskingError, match="Two sites have one key"):
        sites.parties[VICTIM].share(replaced(roster, 2, twin))


def test_fewer_sites_than_the_policy_demands_are_refused() -> None:
    sites = MaskedSites(num_sites=3, demands=Demands(least_sites=4))

    with pytest.raises(PolicyError, match="Fewer sites") as refused:
        sites.parties[VICTIM].share(sites.key())

    assert refused.value.rules == ("privacy.least_sites",)


def test_a_second_roster_in_one_attempt_is_refused_and_the_first_one_gets_the_same_answer() -> None:
    sites = MaskedSites(num_sites=3)
    roster = sites.key()
    first = sites.parties[VICTIM].share(roster)
    other = replaced(roster, 2, keys_of("site-02", SigningKey.generate(), attempt=sites.attempt))

    assert sites.parties[VICTIM].share(roster) == first
    with pytest.raises(MaskingError, match="in different words"):
        sites.parties[VICTIM].share(other)


def test_two_time_pad_one_mask_is_for_one_update() -> None:
    sites = MaskedSites(num_sites=3)
    names = list(sites.parties)
    sites.share(sites.key(), names)
    asked, victim = sites.shares_for(VICTIM), sites.parties[VICTIM]
    first = victim.mask(asked, update_sha256=UPDATE, common=COMMON).words(8)

    assert np.array_equal(victim.mask(asked, update_sha256=UPDATE, common=COMMON).words(8), first)
    with pytest.raises(MaskingError, match="in different words"):
        victim.mask(asked, update_sha256=hashlib.sha256(b"another").hexdigest(), common=COMMON)


def test_a_site_does_not_mask_for_itself_alone() -> None:
    """With no other sharer its own stream, which is revealed of survivors, would be the whole of its mask."""
    sites = MaskedSites(num_sites=5)
    sites.share(sites.key(), list(sites.parties))

    with pytest.raises(MaskingError, match="More sites are gone"):
        sites.parties[VICTIM].mask(
            SharesAsked(sharers=(VICTIM, "site-01"), shares={}), update_sha256=UPDATE, common=COMMON
        )


@pytest.mark.parametrize(
    ("survivors", "reason"),
    [
        (("site-01", "site-02", "site-03"), "without its update"),
        (("site-00", "site-01"), "More sites are gone"),
        (("site-00", "site-01", "site-02", "site-09"), "did not share"),
        (("site-01", "site-00", "site-02"), "not in their order"),
        (("site-00", "site-00", "site-01", "site-02"), "not in their order"),
    ],
)
def test_wrong_survivors_are_not_signed(survivors: tuple[str, ...], reason: str) -> None:
    sites = MaskedSites(num_sites=4)
    until_masked(sites)

    with pytest.raises(MaskingError, match=reason):
        sites.parties[VICTIM].sign(SurvivorsAsked(survivors=survivors))

    assert sites.parties[VICTIM].stage is Stage.MASKED


def test_a_site_signs_one_set_of_survivors_in_an_attempt() -> None:
    sites = MaskedSites(num_sites=4)
    asked = until_masked(sites)
    first = sites.parties[VICTIM].sign(asked)

    assert sites.parties[VICTIM].sign(asked) == first
    with pytest.raises(MaskingError, match="in different words"):
        sites.parties[VICTIM].sign(SurvivorsAsked(survivors=asked.survivors[:3]))


def test_nothing_is_unmasked_by_fewer_signatures_than_the_threshold_or_one_of_them_twice() -> None:
    sites = MaskedSites(num_sites=4)
    signed = sites.sign(until_masked(sites), list(sites.parties)).signed

    for too_few in (signed[:2], (signed[0], signed[1], signed[1])):
        with pytest.raises(MaskingError, match="Fewer sites than the threshold"):
            sites.parties[VICTIM].reveal(UnmaskAsked(signed=too_few))

    assert sites.parties[VICTIM].reveal(UnmaskAsked(signed=signed[:3])).agreed == {}


def test_signatures_of_others_than_the_survivors_or_of_another_use_unmask_nothing() -> None:
    sites = MaskedSites(num_sites=4)
    good = sites.sign(until_masked(sites), list(sites.parties)).signed
    payload = Envelope.from_bytes(good[1].encode()).unverified_payload
    stranger = sign(SURVIVORS_TYPE, payload, SigningKey.generate()).to_bytes().decode()
    other_use = sign(MASK_KEYS_TYPE, payload, sites.signing_keys["site-01"]).to_bytes().decode()
    named = Survivors.from_bytes(payload).model_copy(update={"site_id": "site-77"})
    nobody = sign(SURVIVORS_TYPE, named.to_bytes(), sites.signing_keys["site-01"]).to_bytes().decode()

    for false in (stranger, other_use, nobody, "{}"):
        with pytest.raises(MaskingError):
            sites.parties[VICTIM].reveal(UnmaskAsked(signed=(good[0], false, good[2], good[3])))

    assert sites.parties[VICTIM].stage is Stage.SIGNED


def test_a_site_never_says_both_secrets_of_another() -> None:
    """Colluding sites of five sign whatever is wanted, and the honest ones were asked about two sets."""
    sites = MaskedSites(num_sites=5, colluding=1)
    everybody = until_masked(sites).survivors
    target, without = "site-04", tuple(site for site in everybody if site != "site-04")
    one, two = sites.parties["site-00"], sites.parties["site-01"]
    first = one.sign(SurvivorsAsked(survivors=everybody)).survivors
    second = two.sign(SurvivorsAsked(survivors=without)).survivors

    def colluder(site: str, survivors: tuple[str, ...]) -> str:
        payload = Survivors(
            attempt=sites.attempt,
            site_id=site,
            roster=sites.round_.roster.digest,
            sharers=everybody,
            survivors=survivors,
        ).to_bytes()
        return sign(SURVIVORS_TYPE, payload, sites.signing_keys[site]).to_bytes().decode()

    for party, signed in (
        (one, (first, second, colluder("site-03", everybody))),
        (two, (second, first, colluder("site-03", without))),
        (one, (first, colluder("site-03", everybody), colluder("site-02", everybody))),
    ):
        with pytest.raises(MaskingError):
            party.reveal(UnmaskAsked(signed=signed))  # four of five must agree

    honest = [colluder(site, everybody) for site in ("site-02", "site-03", "site-04")]
    told = one.reveal(UnmaskAsked(signed=(first, *honest)))
    assert target in told.own
    assert target not in told.agreed
    assert told.own.keys().isdisjoint(told.agreed.keys())


STEPS: dict[Stage, Callable[[MaskedSites, Party], object]] = {
    Stage.SHARED: lambda sites, party: party.share(sites.key()),
    Stage.MASKED: lambda sites, party: party.mask(
        SharesAsked(sharers=tuple(sites.parties), shares={}), update_sha256=UPDATE, common=COMMON
    ),
    Stage.SIGNED: lambda sites, party: party.sign(SurvivorsAsked(survivors=tuple(sites.parties))),
    Stage.REVEALED: lambda sites, party: party.reveal(
        UnmaskAsked(
            signed=tuple(
                signature(sites, site, sites.round_.roster.digest) for site in list(sites.parties)[:3]
            )
        )
    ),
}


def signature(sites: MaskedSites, site: str, roster: str) -> str:
    everybody = tuple(sites.parties)
    payload = Survivors(
        attempt=sites.attempt, site_id=site, roster=roster, sharers=everybody, survivors=everybody
    ).to_bytes()
    return sign(SURVIVORS_TYPE, payload, sites.signing_keys[site]).to_bytes().decode()


@pytest.mark.parametrize(("reached", "step"), list(product(Stage, STEPS)))
def test_phases_follow_one_another_as_the_table_says(reached: Stage, step: Stage) -> None:
    sites = MaskedSites(num_sites=4)
    sites.key()
    party = sites.parties[VICTIM]
    for stage, go_on in STEPS.items():
        if list(Stage).index(stage) <= list(Stage).index(reached):
            go_on(sites, party)
    assert party.stage is reached

    if NEXT_STAGES.get(reached) is step:
        STEPS[step](sites, party)
        assert party.stage is step
    elif step in list(STEPS)[: list(Stage).index(reached)]:
        STEPS[step](sites, party)  # the same again gets the same answer
        assert party.stage is reached
    else:
        with pytest.raises(MaskingError, match="another phase than the one that follows"):
            STEPS[step](sites, party)
        assert party.stage is reached
