"""Shamir's sharing: published and worked-out vectors, and what holds for every secret."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import TamperedError
from shared.masking.sharing import PRIME, SHARE_BYTES, join, split

SECRETS = st.binary(min_size=32, max_size=32)


def number(share: bytes) -> int:
    return int.from_bytes(share, "big")


def test_the_published_example_of_six_shares_of_1234_comes_out() -> None:
    # Wikipedia, "Shamir's secret sharing": f(x) = 1234 + 166 x + 94 x^2.
    coefficients = iter([166, 94])
    secret = (1234).to_bytes(32, "big")

    shares = split(secret, threshold=3, points=range(1, 7), draw=lambda _: next(coefficients))

    assert [number(share) for share in shares.values()] == [1494, 1942, 2578, 3402, 4414, 5614]
    assert join({point: shares[point] for point in (2, 4, 5)}, threshold=3) == secret


def test_a_value_beyond_the_prime_wraps_around() -> None:
    # f(x) = (2^256 - 1) + (PRIME - 1) x, so f(1) = 2^256 - 2 and f(300) = 2^256 - 301.
    secret = b"\xff" * 32

    shares = split(secret, threshold=2, points=[1, 300], draw=lambda _: PRIME - 1)

    assert [number(share) for share in shares.values()] == [2**256 - 2, 2**256 - 301]
    assert join(shares, threshold=2) == secret


def test_the_prime_is_the_first_after_2_to_the_256() -> None:
    def may_be_prime(candidate: int) -> bool:  # Fermat, to four bases
        return all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7))

    assert [offset for offset in range(1, 298) if may_be_prime(2**256 + offset)] == [297]
    assert PRIME == 2**256 + 297


@settings(max_examples=60, deadline=None)
@given(secret=SECRETS, data=st.data())
def test_as_many_shares_as_the_threshold_tell_the_secret_whichever_they_are(
    secret: bytes, data: st.DataObject
) -> None:
    num_shares = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, num_shares))
    points = data.draw(st.lists(st.integers(1, 1000), min_size=num_shares, max_size=num_shares, unique=True))
    shares = split(secret, threshold=threshold, points=points)
    chosen = data.draw(st.lists(st.sampled_from(points), min_size=threshold, unique=True))

    assert join({point: shares[point] for point in chosen}, threshold=threshold) == secret
    assert all(len(share) == SHARE_BYTES for share in shares.values())


@settings(max_examples=60, deadline=None)
@given(secret=SECRETS, other=SECRETS, threshold=st.integers(2, 6))
def test_one_share_too_few_fits_every_secret_equally_well(
    secret: bytes, other: bytes, threshold: int
) -> None:
    points = range(1, threshold)
    shares = split(secret, threshold=threshold, points=range(1, threshold + 1))
    few = {point: number(shares[point]) for point in points}

    # Whatever the secret: there is one polynomial of this degree through it and these shares.
    through = {0: int.from_bytes(other, "big"), **few}
    missing = 0
    for point, value in through.items():
        above, below = 1, 1
        for each in through.keys() - {point}:
            above, below = above * (threshold - each) % PRIME, below * (point - each) % PRIME
        missing += value * above * pow(below, -1, PRIME)
    forged = {**{point: shares[point] for point in points}, threshold: (missing % PRIME).to_bytes(33, "big")}

    assert join(forged, threshold=threshold) == other
    with pytest.raises(TamperedError):
        join({point: shares[point] for point in points}, threshold=threshold)


def test_a_share_that_somebody_changed_is_noticed_beside_one_more_than_needed() -> None:
    shares = split(bytes(32), threshold=2, points=[1, 2, 3])
    shares[2] = bytes([*shares[2][:-1], shares[2][-1] ^ 1])

    with pytest.raises(TamperedError, match="do not fit together"):
        join(shares, threshold=2)


def test_shares_come_from_the_whole_field_and_from_new_randomness_each_time() -> None:
    drawn: list[int] = []

    def draw(below: int) -> int:
        drawn.append(below)
        return 7

    split(bytes(32), threshold=4, points=[1, 2, 3, 4], draw=draw)

    assert drawn == [PRIME] * 3
    assert len({split(bytes(32), threshold=2, points=[1, 2])[1] for _ in range(5)}) == 5
