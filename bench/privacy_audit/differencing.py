"""Differencing: a sum with one hospital and a sum without it, subtracted.

What two sums of one round would give away, and that the product's sites never sign both; what noise leaves of
it; and what is left to a coordinator who waits for a hospital to leave a run and subtracts two rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.learning import PatientExample
from bench.privacy_audit.releases import (
    cosine,
    grid_of_later_rounds,
    noisy,
    released,
    sum_of,
    typical_norm,
)
from bench.privacy_audit.settings import PLAIN, Setting
from bench.privacy_audit.sites import Round
from client.store.opening import open_site_store
from client.store.signed_survivors import SignedSurvivors
from shared.errors import MaskingError
from shared.fixed_point.grid import Grid
from shared.fixed_point.sums import IntegerSum
from shared.model import Weights
from shared.records import Occasion, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferencingRow:
    """What subtracting gives away of the hospital that is in one sum alone.

    Attributes
    ----------
    two_sums
        Cosine of the difference of two sums of one round with its update, if there were two. A site's noise
        is the same in all attempts at a round, so that its own part of it is left in the difference.
    exact
        Share of the update's integers that the difference gives to the last bit; None with noise.
    two_rounds
        Cosine of the difference of a round with it and the next without it, with its update.
    chance
        Cosine that two unrelated updates of this length have about: one over the root of the values' number.
    """

    setting: Setting
    two_sums: float
    exact: float | None
    two_rounds: float
    chance: float


def refused_second_sum() -> str:
    """What a site says that is asked to sign a second set of survivors in a round, after its first.

    Raises
    ------
    AssertionError
        It signs.
    """
    with tempfile.TemporaryDirectory() as folder:
        engine = open_site_store(Path(folder))
        try:
            signed = SignedSurvivors(engine)
            first = Occasion(
                run_id="audit",
                plan_sha256="0" * 64,
                round_number=1,
                attempt=1,
                phase=Phase.SURVIVORS,
                site_id="site-0",
                base_digest="1" * 64,
            )
            everybody = ("site-0", "site-1", "site-2", "site-3")
            signed.bind(first, everybody, update_sha256="2" * 64, key_ids=(), at=0.0)
            again = first.model_copy(update={"attempt": 2})
            try:
                signed.bind(again, everybody[:-1], update_sha256="2" * 64, key_ids=(), at=1.0)
            except MaskingError as refusal:
                return refusal.message
        finally:
            engine.dispose()
    raise AssertionError("A site has signed two sets of survivors in one round.")


def attack_by_differencing(
    hospitals: Sequence[Sequence[PatientExample]],
    round_: Round,
    settings: Sequence[Setting],
    *,
    on_step: Callable[[str], None],
    seed: int,
) -> list[DifferencingRow]:
    """Subtract, under each setting that is a sum, two sums of which one lacks the first hospital.

    Parameters
    ----------
    hospitals
        Pictures of as many as the largest sum has.
    """
    cohorts = sorted({setting.num_sites for setting in settings} - {PLAIN})
    on_step(f"differencing: first round of {max(cohorts)} hospitals")
    updates = [round_.update(of_one, seed=seed + number) for number, of_one in enumerate(hospitals)]
    clip_norm = typical_norm(updates)
    rows = []
    for num_sites in cohorts:
        on_step(f"differencing: second round, {num_sites - 1} hospitals")
        grid = grid_of_later_rounds(round_.base, updates, share=1 / num_sites)
        first = updates[:num_sites]
        bare = released(first, Setting(num_sites=num_sites), grid, clip_norm=clip_norm, seed=seed)
        next_round = replace(round_, base=round_.moved(bare), number=round_.number + 1)
        second = [
            next_round.update(hospitals[place], seed=seed + 100 + place) for place in range(1, num_sites)
        ]
        for setting in (each for each in settings if each.num_sites == num_sites):
            sums = Sums(setting=setting, grid=grid, clip_norm=clip_norm, seed=seed)
            rows.append(
                DifferencingRow(
                    setting=setting,
                    two_sums=cosine(sums.left_over(first[0]), first[0]),
                    exact=None if setting.noise_multiplier else sums.share_recovered(first),
                    two_rounds=cosine(difference(sums.of(first), sums.without_first(second)), first[0]),
                    chance=grid.num_values**-0.5,
                )
            )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums of a round under one setting, in which every hospital has the share that it began the run with."""

    setting: Setting
    grid: Grid
    clip_norm: float
    seed: int

    def of(self, updates: Sequence[Weights]) -> Weights:
        """The sum over all hospitals, in units of their updates."""
        return self._noisy(self._integers(updates, 0), again=0)

    def without_first(self, updates: Sequence[Weights]) -> Weights:
        """Another round's sum, over all but the first."""
        return self._noisy(self._integers(updates, 1), again=1)

    def left_over(self, update: Weights) -> Weights:
        """What two sums of one round differ by, of which one lacks the first hospital: what it has sent."""
        return self._noisy(self._integers([update], 0), again=0, num_honest=self.setting.num_sites)

    def share_recovered(self, updates: Sequence[Weights]) -> float:
        """Of the first hospital's integers, the share that the difference of two bare sums has exactly."""
        whole, without = self._integers(updates, 0), self._integers(updates[1:], 1)
        alone = self._integers(updates[:1], 0)
        same = sum(
            int(np.count_nonzero(whole.of(name) - without.of(name) == alone.of(name)))
            for name in self.grid.shapes
        )
        return same / self.grid.num_values

    def _noisy(self, total: IntegerSum, *, again: int, num_honest: int = 1) -> Weights:
        return noisy(
            total,
            self.setting,
            self.grid,
            clip_norm=self.clip_norm,
            seed=self.seed + again,
            num_honest=num_honest,
        )

    def _integers(self, updates: Sequence[Weights], first: int) -> IntegerSum:
        return sum_of(updates, self.setting, self.grid, clip_norm=self.clip_norm, seed=self.seed, first=first)


def difference(one: Weights, other: Weights) -> Weights:
    """One less the other."""
    return {name: tensor - other[name] for name, tensor in one.items()}
