"""The reference of a published model: what sites told of it, and of the images it was trained on, pooled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server.lifecycle import AnswerState
from server.store import Answer
from shared.appearance import LEAST_AT_A_SITE, Appearance
from shared.appearance import pool as pool_appearances
from shared.evaluation.agreement import limits_of_agreement
from shared.evaluation.pooling import pool as pool_evaluations
from shared.evaluation.records import PairedMoments
from shared.evaluation.together import Together
from shared.records import Contribution, Phase
from shared.reference import LEAST_FOR_LIMITS, DensityLimits, Reference

LEAST_SITES = 2
"""What one site told of its images is not handed on by itself."""


def reference_of(answers: Sequence[Answer], together: Together | None = None) -> Reference:
    """The reference that follows from a run's answers, by round and attempt.

    Parameters
    ----------
    together
        What sites told in aggregate only, where none told its own.
    """
    if together is not None:
        return _reference_together(together, _last(answers, Phase.TRAIN).values())
    tested, trained = _last(answers, Phase.EVALUATE), _last(answers, Phase.TRAIN)
    appearances = [
        _no_larger(told.appearance, trained[site].num_examples)
        for site, told in tested.items()
        if told.appearance is not None and site in trained
    ]
    pooled = pool_evaluations([told.evaluation for told in tested.values() if told.evaluation is not None])
    return Reference(
        appearance=_pooled([each for each in appearances if each is not None]),
        density_limits=None if pooled is None else _density_limits(pooled.percent_density),
    )


def _reference_together(together: Together, trained: Iterable[Contribution]) -> Reference:
    """All sites weigh no more images than they trained on, whatever they say."""
    appearance, evaluation = together.appearance, together.evaluation
    most = sum(each.num_examples for each in trained)
    has_plausible = appearance is not None and appearance.num_examples <= most
    return Reference(
        appearance=appearance if has_plausible else None,
        density_limits=None if evaluation is None else _density_limits(evaluation.percent_density),
    )


def _last(answers: Sequence[Answer], phase: Phase) -> dict[str, Contribution]:
    """Each site's last admitted word of a phase."""
    return {
        answer.site_id: answer.contribution
        for answer in answers
        if answer.phase is phase and answer.state is AnswerState.ADMITTED and answer.contribution is not None
    }


def _no_larger(appearance: Appearance, num_trained: int) -> Appearance | None:
    """A site weighs no more images than it trained on, whatever it says."""
    count = min(appearance.num_examples, num_trained)
    return appearance.model_copy(update={"num_examples": count}) if count >= LEAST_AT_A_SITE else None


def _pooled(appearances: Sequence[Appearance]) -> Appearance | None:
    return pool_appearances(appearances) if len(appearances) >= LEAST_SITES else None


def _density_limits(density: PairedMoments | None) -> DensityLimits | None:
    if density is None or density.num_images < LEAST_FOR_LIMITS:
        return None
    limits = limits_of_agreement(density)
    assert limits is not None
    lower, upper = (max(-100.0, min(100.0, limit)) for limit in limits)
    return DensityLimits(lower=lower, upper=upper, num_images=density.num_images)
