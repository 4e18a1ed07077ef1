"""What is promised for how many sites, and the graph that keeps it."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PlanError
from shared.masking.agreed import Agreed, neighbours_of


@pytest.mark.parametrize(
    ("num_sites", "colluding", "threshold", "dropouts"),
    [
        (3, 0, 2, 1),
        (3, 1, 3, 0),
        (4, 0, 3, 1),
        (4, 2, 4, 0),
        (5, 0, 3, 2),
        (5, 1, 4, 1),
        (10, 0, 6, 4),
        (10, 3, 7, 3),
        (20, 5, 13, 7),
        (50, 10, 31, 19),
    ],
)
def test_threshold_and_dropouts_borne_are_those_of_the_table(
    num_sites: int, colluding: int, threshold: int, dropouts: int
) -> None:
    agreed = Agreed(num_sites=num_sites, colluding=colluding)

    assert (agreed.threshold, agreed.share_threshold, agreed.dropouts) == (threshold, threshold, dropouts)


@settings(max_examples=300, deadline=None)
@given(num_sites=st.integers(3, 300), data=st.data())
def test_two_sets_of_signers_always_share_an_honest_one_and_two_honest_sites_are_in_every_sum(
    num_sites: int, data: st.DataObject
) -> None:
    colluding = data.draw(st.integers(0, num_sites - 2))
    agreed = Agreed(num_sites=num_sites, colluding=colluding)

    assert 2 * agreed.threshold > num_sites + colluding
    assert agreed.threshold - colluding >= 2
    assert agreed.threshold <= num_sites
    # And no threshold below it would do.
    lower = agreed.threshold - 1
    assert 2 * lower <= num_sites + colluding or lower - colluding < 2


@pytest.mark.parametrize(("num_sites", "colluding"), [(0, 0), (1, 0), (2, 0), (3, 2), (10, 9)])
def test_too_few_sites_for_the_promise_are_refused(num_sites: int, colluding: int) -> None:
    with pytest.raises(PlanError, match="needs at least"):
        Agreed(num_sites=num_sites, colluding=colluding)


def test_too_few_neighbours_for_those_who_collude_are_refused() -> None:
    with pytest.raises(PlanError, match="4 neighbours of each site are too few for 4 colluding"):
        Agreed(num_sites=20, colluding=4, neighbours=4)


@settings(max_examples=100, deadline=None)
@given(num_sites=st.integers(3, 60), half=st.integers(1, 12), salt=st.binary(max_size=8))
def test_everybody_has_as_many_neighbours_and_is_their_neighbour(
    num_sites: int, half: int, salt: bytes
) -> None:
    agreed = Agreed(num_sites=num_sites, neighbours=2 * half)
    sites = [f"site-{number:03}" for number in range(num_sites)]

    around = neighbours_of(sites, agreed, salt=salt)

    assert list(around) == sites
    for site, others in around.items():
        assert len(set(others)) == len(others) == agreed.degree
        assert site not in others
        assert all(site in around[other] for other in others)


def test_another_salt_gives_another_circle_and_the_order_of_asking_none() -> None:
    sites = [f"site-{number}" for number in range(30)]
    agreed = Agreed(num_sites=30, neighbours=4)

    assert neighbours_of(sites, agreed, salt=b"1") == neighbours_of(sites[::-1], agreed, salt=b"1")
    assert neighbours_of(sites, agreed, salt=b"1") != neighbours_of(sites, agreed, salt=b"2")


def test_the_graph_stays_connected_whichever_sites_leave_or_collude_up_to_the_promise() -> None:
    sites = [f"site-{number}" for number in range(12)]
    agreed = Agreed(num_sites=12, colluding=1, neighbours=6)
    around = neighbours_of(sites, agreed, salt=b"salt")

    assert agreed.dropouts == 2
    for gone in combinations(sites, agreed.degree - 1):
        left = set(sites) - set(gone)
        reached, open_ends = set(), {min(left)}
        while open_ends:
            reached |= open_ends
            open_ends = {other for site in open_ends for other in around[site]} & left - reached
        assert reached == left


def test_the_table_in_the_docs_is_what_the_function_says() -> None:
    page = (Path(__file__).parents[4] / "docs" / "privacy.md").read_text()
    rows = re.findall(
        r"^\| (\d+) \|(.*)\|$", page.partition("| sites |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert len(rows) == 10

    for num_sites, cells in rows:
        for colluding, cell in zip((0, 1, 2, 5), map(str.strip, cells.split("|")), strict=True):
            if cell:
                agreed = Agreed(num_sites=int(num_sites), colluding=colluding)
                assert cell == f"{agreed.threshold} / {agreed.dropouts}"
            else:
                with pytest.raises(PlanError):
                    Agreed(num_sites=int(num_sites), colluding=colluding)
    for neighbours, dropouts in re.findall(r"k = (\d+) (?:a round of 200 sites|it) bears (\d+)", page):
        many = Agreed(num_sites=200, colluding=5, neighbours=int(neighbours))
        assert many.dropouts == int(dropouts)
