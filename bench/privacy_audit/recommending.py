"""From the rows of an audit to what is recommended: nothing here knows a figure that was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.privacy_audit.inversion_trials import InversionRow
from bench.privacy_audit.membership import MembershipRow
from bench.privacy_audit.properties import PropertyRow
from bench.privacy_audit.settings import Setting
from shared.errors import PlanError
from shared.masking.agreed import Agreed

VISIBLE_GAIN = 0.05
"""SSIM above the guess from which on a reconstruction counts as one."""
GUESSED_AREA, GUESSED_CORRELATION = 0.5, 0.0
LEAST_LEARNING = 0.5
"""Share of what a round learns that a recommended setting leaves."""

LEAVING = 0.2
"""Share of hospitals that may leave a round, rounded up."""

PICTURES, MEMBERSHIP, DENSITY = "pictures", "membership", "density"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What attacks got under a setting.

    Attributes
    ----------
    leaks
        The attacks that did better than guessing, beyond chance.
    """

    setting: Setting
    leaks: tuple[str, ...]
    learning_left: float

    @property
    def is_usable(self) -> bool:
        """Whether rounds still learn."""
        return self.learning_left >= LEAST_LEARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """For a number of hospitals.

    Attributes
    ----------
    chosen
        Of the settings under which rounds still learn, the one with the fewest leaks, then the least noise.
    tight
        The least noise without any leak, whatever it costs; None if none was tried that has none.
    colluding, dropouts
        How many colluding hospitals secure aggregation can be asked to bear while a fifth may leave, and
        how many may leave then.
    """

    num_sites: int
    chosen: Verdict | None
    tight: Verdict | None
    colluding: int
    dropouts: int


def verdicts(
    inversions: Iterable[InversionRow],
    memberships: Iterable[MembershipRow],
    properties: Iterable[PropertyRow],
) -> list[Verdict]:
    """One for each setting; all three attacks were tried under each."""
    pictures: dict[Setting, bool] = {}
    for inversion in inversions:
        if inversion.trial.sent == "update":
            setting, is_seen = inversion.trial.setting, inversion.gain[1] >= VISIBLE_GAIN
            pictures[setting] = pictures.get(setting, False) or is_seen
    densities = {row.setting: row.one.low > GUESSED_CORRELATION for row in properties}
    found = []
    for membership in memberships:
        setting = membership.setting
        leaking = {
            PICTURES: pictures[setting],
            MEMBERSHIP: membership.area.low > GUESSED_AREA,
            DENSITY: densities[setting],
        }
        leaks = tuple(name for name, does_leak in leaking.items() if does_leak)
        found.append(Verdict(setting=setting, leaks=leaks, learning_left=membership.learning_left))
    return found


def recommend(found: Sequence[Verdict], num_sites: int) -> Recommendation:
    """What is recommended where so many hospitals learn together."""
    here = sorted(
        (each for each in found if each.setting.num_sites == num_sites),
        key=lambda each: each.setting.noise_multiplier,
    )
    usable = [each for each in here if each.is_usable]
    colluding = _most_colluding(num_sites)
    return Recommendation(
        num_sites=num_sites,
        chosen=min(usable, key=lambda each: len(each.leaks)) if usable else None,
        tight=next((each for each in here if not each.leaks), None),
        colluding=colluding,
        dropouts=Agreed(num_sites=num_sites, colluding=colluding).dropouts,
    )


def _most_colluding(num_sites: int) -> int:
    """With so many hospitals that may leave as `LEAVING` says."""
    most = 0
    for colluding in range(num_sites):
        try:
            if Agreed(num_sites=num_sites, colluding=colluding).dropouts < math.ceil(LEAVING * num_sites):
                break
        except PlanError:
            break
        most = colluding
    return most
