"""Sites that mask updates for a coordinator, in one process, by the product's own two sides."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.masking import Demands, Party
from server.masking import MaskedRound
from shared.fixed_point.grid import Bits, Grid
from shared.fixed_point.masked_file import read_masked, write_masked
from shared.fixed_point.sums import IntegerSum, ring_bits
from shared.masking.records import RosterAsked, SharesAsked, SurvivorsAsked, UnmaskAsked
from shared.masking.streams import common_terms
from shared.records import Phase
from shared.trust.keys import SigningKey

NO_DEMANDS = Demands(least_sites=3)


def attempt_named(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(slots=True, kw_only=True)
class MaskedSites:
    """One attempt among sites; a method for each phase, in which only the sites that are named answer."""

    num_sites: int
    colluding: int = 0
    neighbours: int | None = None
    bits: Bits = 16
    size: int = 50
    attempt: str = attempt_named("first")
    demands: Demands = NO_DEMANDS
    signing_keys: dict[str, SigningKey] = field(default_factory=dict)
    parties: dict[str, Party] = field(init=False)
    round_: MaskedRound = field(init=False)
    grid: Grid = field(init=False)
    uploads: dict[str, bytes] = field(default_factory=dict)
    common: str = field(init=False)
    told: dict[str, str] = field(default_factory=dict)
    """Common terms that single sites were told in the place of these."""

    def __post_init__(self) -> None:
        self.grid = Grid(bits=self.bits, shapes={"kernel": (self.size,)}, exponents={"kernel": -8})
        ids = [f"site-{number:02}" for number in range(self.num_sites)]
        self.signing_keys = {site: self.signing_keys.get(site) or SigningKey.generate() for site in ids}
        self.parties = {
            site: Party(
                attempt=self.attempt,
                site_id=site,
                signing_key=key,
                demands=self.demands,
                colluding=self.colluding,
                neighbours=self.neighbours,
            )
            for site, key in self.signing_keys.items()
        }
        self.common = common_terms(self.grid, self.num_sites)
        self.round_ = MaskedRound(
            attempt=self.attempt, colluding=self.colluding, neighbours=self.neighbours, common=self.common
        )

    def key(self) -> RosterAsked:
        for site, party in self.parties.items():
            self.round_.take_keys(site, party.keys(), self.signing_keys[site].verify_key)
        self.round_.close(Phase.KEYS)
        asked = self.round_.asked(Phase.SHARES, "")
        assert isinstance(asked, RosterAsked)
        return asked

    def share(self, roster: RosterAsked, sites: Collection[str]) -> None:
        for site in sites:
            self.round_.take_shares(site, self.parties[site].share(roster))
        self.round_.close(Phase.SHARES)

    def shares_for(self, site: str) -> SharesAsked:
        asked = self.round_.asked(Phase.TRAIN, site)
        assert isinstance(asked, SharesAsked)
        return asked

    @property
    def ring(self) -> int:
        return ring_bits(self.bits, self.num_sites)

    def mask(
        self, updates: Mapping[str, NDArray[np.integer]], sites: Collection[str]
    ) -> tuple[IntegerSum, SurvivorsAsked]:
        total = IntegerSum(self.grid)
        for site in sites:
            sha256 = hashlib.sha256(updates[site].tobytes()).hexdigest()
            common = self.told.get(site, self.common)
            mask = self.parties[site].mask(self.shares_for(site), update_sha256=sha256, common=common)
            words = updates[site].astype(np.int32).view(np.uint32) + mask.words(self.size)
            file = io.BytesIO()
            write_masked(file, self.grid, [words], ring=self.ring)
            upload = self.uploads[site] = file.getvalue()
            total.add(lambda upload=upload: read_masked(io.BytesIO(upload), self.grid, ring=self.ring))
            self.round_.take_masked(site)
        self.round_.close(Phase.TRAIN)
        asked = self.round_.asked(Phase.SURVIVORS, "")
        assert isinstance(asked, SurvivorsAsked)
        return total, asked

    def sign(self, asked: SurvivorsAsked, sites: Collection[str]) -> UnmaskAsked:
        for site in sites:
            self.round_.take_signed(site, self.parties[site].sign(asked))
        self.round_.close(Phase.SURVIVORS)
        unmask = self.round_.asked(Phase.UNMASK, "")
        assert isinstance(unmask, UnmaskAsked)
        return unmask

    def reveal(self, asked: UnmaskAsked, sites: Collection[str]) -> None:
        for site in sites:
            self.round_.take_revealed(site, self.parties[site].reveal(asked))

    def updates(self, seed: int) -> dict[str, NDArray[np.integer]]:
        """The largest values, the smallest and those between."""
        random, largest = np.random.default_rng(seed), self.grid.largest
        dtype = np.int16 if self.bits == 16 else np.int8
        return {
            site: np.concatenate(
                [[largest, -largest], random.integers(-largest, largest + 1, self.size - 2)]
            ).astype(dtype)
            for site in self.parties
        }
