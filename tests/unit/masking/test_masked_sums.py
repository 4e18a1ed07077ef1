"""The two sides of secure aggregation together: exact with sites gone in every phase, noise to look at."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import AggregationError
from shared.fixed_point.grid import Bits
from shared.masking.agreed import Agreed
from tests.unit.masking.masked_sites import MaskedSites


def plain_sum(updates: dict[str, NDArray[np.integer]], sites: Collection[str]) -> NDArray[np.int64]:
    return np.sum([updates[site].astype(np.int64) for site in sites], axis=0)


def carry_through(
    sites: MaskedSites, updates: dict[str, NDArray[np.integer]], *, gone: dict[str, Collection[str]]
) -> tuple[NDArray[np.int32], list[str]]:
    """One attempt, in which the sites that a phase names leave at it; the sum, and whose it is."""
    left = [site for site in sites.parties if site not in gone.get("share", ())]
    sites.share(sites.key(), left)
    survivors = left = [site for site in left if site not in gone.get("mask", ())]
    total, asked = sites.mask(updates, left)
    left = [site for site in left if site not in gone.get("sign", ())]
    signed = sites.sign(asked, left)
    left = [site for site in left if site not in gone.get("reveal", ())]
    sites.reveal(signed, left)
    sites.round_.unmask(total)
    return total.of("kernel"), survivors


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bits=st.sampled_from([8, 16]), num_sites=st.integers(3, 9), seed=st.integers(0, 999))
def test_a_masked_sum_is_the_plain_one_to_the_last_bit_with_sites_gone_at_every_phase(
    data: st.DataObject, bits: Bits, num_sites: int, seed: int
) -> None:
    colluding = data.draw(st.integers(0, num_sites - 2))
    sites = MaskedSites(num_sites=num_sites, colluding=colluding, bits=bits)
    dropouts = Agreed(num_sites=num_sites, colluding=colluding).dropouts
    leaving = data.draw(st.lists(st.sampled_from(list(sites.parties)), max_size=dropouts, unique=True))
    gone: dict[str, list[str]] = {}
    for site in leaving:
        gone.setdefault(data.draw(st.sampled_from(["share", "mask", "sign", "reveal"])), []).append(site)
    updates = sites.updates(seed)

    total, survivors = carry_through(sites, updates, gone=gone)

    assert np.array_equal(total, plain_sum(updates, survivors))


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999))
def test_with_few_neighbours_for_many_sites_the_sum_is_as_exact(data: st.DataObject, seed: int) -> None:
    sites = MaskedSites(num_sites=24, colluding=1, neighbours=8)
    names, dropouts = list(sites.parties), Agreed(num_sites=24, colluding=1, neighbours=8).dropouts
    leaving = data.draw(st.lists(st.sampled_from(names), max_size=dropouts, unique=True))
    gone: dict[str, list[str]] = {}
    for site in leaving:
        gone.setdefault(data.draw(st.sampled_from(["share", "mask", "sign", "reveal"])), []).append(site)
    updates = sites.updates(seed)

    total, survivors = carry_through(sites, updates, gone=gone)

    assert dropouts == 3
    assert np.array_equal(total, plain_sum(updates, survivors))


@pytest.mark.parametrize("phase", ["share", "mask", "sign", "reveal"])
def test_with_more_sites_gone_than_is_borne_there_is_no_sum(phase: str) -> None:
    sites = MaskedSites(num_sites=5)  # three must stay

    with pytest.raises(AggregationError, match="More sites have left"):
        carry_through(sites, sites.updates(1), gone={phase: list(sites.parties)[:3]})


def chi_square(values: NDArray[np.integer], num_kinds: int) -> float:
    expected = len(values) / num_kinds
    return float(((np.bincount(values, minlength=num_kinds) - expected) ** 2 / expected).sum())


def test_what_the_coordinator_gets_of_a_site_is_even_noise_whatever_the_update() -> None:
    """All bytes of an upload after its head, of an update that is all zeros, and of one that is all alike."""
    sites = MaskedSites(num_sites=3, size=30_000)
    updates = {
        site: np.full(30_000, value, np.int16)
        for site, value in zip(sites.parties, (0, 1, -32767), strict=True)
    }
    sites.share(sites.key(), list(sites.parties))

    sites.mask(updates, list(sites.parties))

    for upload in sites.uploads.values():
        body = np.frombuffer(upload[-(30_000 * 18 // 8) :], np.uint8)
        # 255 degrees of freedom: outside of this with a probability below 1e-5; ends differ, too.
        assert 160 < chi_square(body, 256) < 365
        bits = np.unpackbits(body)
        assert abs(int(bits.sum()) - bits.size / 2) < 5 * np.sqrt(bits.size) / 2
        pairs = body[:-1].astype(np.int64) * 256 + body[1:]
        assert chi_square(pairs // 512, 128) < 215  # neighbours tell nothing of each other


def test_two_uploads_of_one_update_in_two_attempts_have_nothing_in_common() -> None:
    update = {f"site-{number:02}": np.zeros(20_000, np.int16) for number in range(3)}
    first, second = (MaskedSites(num_sites=3, size=20_000, attempt=each * 64) for each in "ab")
    for sites in (first, second):
        sites.share(sites.key(), list(sites.parties))
        sites.mask(update, list(sites.parties))

    for site in update:
        one, two = (np.frombuffer(each.uploads[site][-40_000:], np.uint8) for each in (first, second))
        assert 160 < chi_square(one ^ two, 256) < 365


def test_a_partial_sum_before_everybody_has_answered_is_noise_too() -> None:
    sites = MaskedSites(num_sites=3, size=30_000)
    updates = {site: np.zeros(30_000, np.int16) for site in sites.parties}
    sites.share(sites.key(), list(sites.parties))
    total, _ = sites.mask(updates, list(sites.parties)[:2])

    low = total.of("kernel").view(np.uint32) & 0xFF

    assert 160 < chi_square(low.astype(np.int64), 256) < 365


def test_a_share_that_a_hostile_site_falsifies_gives_no_wrong_sum() -> None:
    sites = MaskedSites(num_sites=3)
    updates = sites.updates(2)
    names = list(sites.parties)
    sites.share(sites.key(), names)
    total, asked = sites.mask(updates, names)
    signed = sites.sign(asked, names)
    sites.reveal(signed, names[:1])
    told = sites.parties[names[1]].reveal(signed)
    own = {**told.own, names[0]: "00" * 32 + "07"}
    sites.round_.take_revealed(names[1], told.model_copy(update={"own": own}))

    with pytest.raises(AggregationError, match="do not take the masks off"):
        sites.round_.unmask(total)


def test_an_upload_that_was_not_masked_as_agreed_gives_no_sum() -> None:
    sites = MaskedSites(num_sites=3, size=2000)
    updates, names = sites.updates(3), list(sites.parties)
    sites.share(sites.key(), names)
    total, asked = sites.mask(updates, names)
    total.of("kernel")[:] += np.random.default_rng(4).integers(-(2**31), 2**31, 2000, dtype=np.int32)
    sites.reveal(sites.sign(asked, names), names)

    with pytest.raises(AggregationError, match="do not cancel"):
        sites.round_.unmask(total)


def test_the_coordinator_knows_no_secret_of_a_site_before_survivors_are_signed() -> None:
    """Every secret of a site against every byte that the coordinator was told until then."""
    sites = MaskedSites(num_sites=3)
    names = list(sites.parties)
    sites.share(sites.key(), names)
    sites.mask(sites.updates(5), names)

    told = repr(sites.round_)
    for party in sites.parties.values():
        for secret in (party._own, party._mask_key.raw, party._share_key.raw):
            assert secret.hex() not in told
            assert repr(secret) not in told
        for shares in party._held.values():
            assert all(share.hex() not in told for share in shares)
