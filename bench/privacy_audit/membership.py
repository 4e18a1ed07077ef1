"""Membership inference: was this woman's picture among those that a hospital has trained on?

The likelihood ratio attack (LiRA) of Carlini et al., Membership inference attacks from first principles, IEEE
S&P 2022, in its online form, with shadow models in which each candidate is a member half of the time. What is
looked at is the logarithm of the picture's loss; as they do for few shadow models, spreads are estimated over
all pictures together. Each model is attacked in turn with the help of all others.

Axes: M models, P pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bench.learning import PatientExample
from bench.privacy_audit.figures import (
    Figure,
    Truths,
    Values,
    area_under_curve,
    true_positive_rate,
    with_interval,
)
from bench.privacy_audit.material import Material
from bench.privacy_audit.releases import grid_of_later_rounds, released, typical_norm
from bench.privacy_audit.settings import Setting
from bench.privacy_audit.sites import Round, fit, losses
from shared.model import Weights

LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRow:
    """How well membership is told under one setting.

    Attributes
    ----------
    found
        True positives at 1 % false positives; 0.01 is guessing.
    area
        Under the curve; 0.5 is guessing.
    num_members, num_others
        Trials; several of one picture, under different models.
    learning_left
        What a round takes off the loss of unseen pictures, as a share of what it takes off with the same
        hospitals and without noise; below 0 the round harms.
    """

    setting: Setting
    found: Figure
    area: Figure
    num_members: int
    num_others: int
    learning_left: float


def members_of_models(num_models: int, women: Sequence[str], *, seed: int) -> Truths:
    """Which pictures are trained on in which model, MP: in each pair of models every woman is in one.

    Parameters
    ----------
    num_models
        An even number.
    """
    random = np.random.default_rng(seed)
    names = sorted(set(women))
    places = np.array([names.index(woman) for woman in women])
    firsts = [random.permutation(len(names)) < (len(names) + 1) // 2 for _ in range(num_models // 2)]
    return np.stack([each[places] for first in firsts for each in (first, ~first)])


def likelihood_ratios(seen_MP: Values, is_member_MP: Truths) -> Values:
    """The logarithm of how much likelier each value is of a member, by the other models, MP.

    The pair that a model belongs to is left out as a whole: so each picture has as many models with it as
    without it, and noise alone favours neither.

    Parameters
    ----------
    seen_MP
        One number of each picture under each model; each model's mean is taken off.
    is_member_MP
        Of `members_of_models`, three pairs or more.
    """
    level_MP = seen_MP - seen_MP.mean(axis=1, keepdims=True)
    ratios_MP = np.empty_like(seen_MP)
    for model in range(len(seen_MP)):
        others = np.arange(len(seen_MP)) // 2 != model // 2
        shadow_MP, member_MP = level_MP[others], is_member_MP[others]
        inside, outside = _normal(shadow_MP, member_MP), _normal(shadow_MP, ~member_MP)
        ratios_MP[model] = _log_density(level_MP[model], *inside) - _log_density(level_MP[model], *outside)
    return ratios_MP


def _normal(values_MP: Values, counted_MP: Truths) -> tuple[Values, float]:
    """The mean of each picture's values that count, and one spread for all."""
    count_P = counted_MP.sum(axis=0)
    assert (count_P >= 1).all()
    mean_P = (values_MP * counted_MP).sum(axis=0) / count_P
    squares = ((values_MP - mean_P) ** 2 * counted_MP).sum()
    freedom = max(int(counted_MP.sum()) - len(mean_P), 1)
    return mean_P, max(float(np.sqrt(squares / freedom)), LEAST_SPREAD)


def _log_density(values_P: Values, mean_P: Values, spread: float) -> Values:
    density_P: Values = -0.5 * ((values_P - mean_P) / spread) ** 2 - np.log(spread)
    return density_P


def rates(scores_MP: Values, is_member_MP: Truths, women: Sequence[str]) -> tuple[Figure, Figure]:
    """True positives at 1 % false ones, and the area under the curve; intervals by drawing women anew."""
    names = sorted(set(women))
    places = [np.flatnonzero(np.array(women) == name) for name in names]

    def of(
        statistic: Callable[[Values, Truths], float],
    ) -> Callable[[NDArray[np.intp]], float]:
        def drawn(units: NDArray[np.intp]) -> float:
            columns = np.concatenate([places[unit] for unit in units])
            return statistic(scores_MP[:, columns].ravel(), is_member_MP[:, columns].ravel())

        return drawn

    return (
        with_interval(of(true_positive_rate), len(names)),
        with_interval(of(area_under_curve), len(names)),
    )


def attack_membership(
    material: Material,
    round_: Round,
    settings: Sequence[Setting],
    *,
    num_models: int,
    on_step: Callable[[str], None],
    seed: int,
) -> list[MembershipRow]:
    """Attack one hospital, of which each model is another draw of women, under each setting."""
    women = [each.patient for each in material.attacked]
    is_member_MP = members_of_models(num_models, women, seed=seed)
    on_step(f"membership: {num_models} models of the attacked hospital")
    own = [
        round_.update(_chosen(material.attacked, members), seed=seed + number)
        for number, members in enumerate(is_member_MP)
    ]
    num_others = max(setting.num_sites for setting in settings) - 1
    on_step(f"membership: {num_others} other hospitals")
    others = _of_other_hospitals(material, round_, num_others, seed=seed)
    clip_norm = typical_norm(own)
    random = np.random.default_rng([seed, 1])
    # One can be drawn twice: else the largest sum would always have the same others, which is to know them.
    company = [random.integers(num_others, size=num_others) for _ in own]
    candidates, unseen = fit(material.attacked, round_.plan), fit(material.unseen, round_.plan)
    before = fmean(losses(round_.base, unseen, round_.plan))
    gains: dict[Setting, float] = {}
    rows = []
    for setting in settings:
        on_step(f"membership: {setting.words}")
        grid = grid_of_later_rounds(round_.base, own, share=1 / setting.num_sites)
        after = [
            round_.moved(
                released(
                    [update, *(others[place] for place in company[number][: setting.num_sites - 1])],
                    setting,
                    grid,
                    clip_norm=clip_norm,
                    seed=seed + 1000 * number,
                )
            )
            for number, update in enumerate(own)
        ]
        seen_MP = np.log([losses(weights, candidates, round_.plan) for weights in after])
        found, area = rates(likelihood_ratios(seen_MP, is_member_MP), is_member_MP, women)
        gains[setting] = before - fmean(fmean(losses(each, unseen, round_.plan)) for each in after)
        rows.append(
            MembershipRow(
                setting=setting,
                found=found,
                area=area,
                num_members=int(is_member_MP.sum()),
                num_others=int((~is_member_MP).sum()),
                learning_left=gains[setting] / gains[Setting(num_sites=setting.num_sites)],
            )
        )
    return rows


def _chosen(pictures: Sequence[PatientExample], members_P: Truths) -> list[PatientExample]:
    return [each for each, is_member in zip(pictures, members_P, strict=True) if is_member]


def _of_other_hospitals(material: Material, round_: Round, count: int, *, seed: int) -> list[Weights]:
    women = [each.patient for each in material.attackers]
    in_hospital = members_of_models(2 * ((count + 1) // 2), women, seed=seed + 1)[:count]
    return [
        round_.update(_chosen(material.attackers, members), seed=seed + 100 + number)
        for number, members in enumerate(in_hospital)
    ]
