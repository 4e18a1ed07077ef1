"""What may be told of metrics, as the policy lets them go: each for itself, or as numbers of a sum."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.evaluation.evaluator import Evaluated
from client.evaluation.suppression import tell
from client.policy.decisions import reported_count
from client.policy.policy import EgressTable
from client.training.trainer import TrainingResult
from shared.appearance import LEAST_AT_A_SITE, Appearance
from shared.evaluation.records import Evaluation
from shared.evaluation.sums import rows_of
from shared.masking.metric_words import to_words
from shared.plan import MetricName


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of one site as they may be told; None is not told."""

    train_loss: float | None = None
    evaluation: Evaluation | None = None
    personal: Evaluation | None = None
    appearance: Appearance | None = None


def metrics_told(
    evaluated: Evaluated,
    training: TrainingResult | None,
    *,
    asked: Collection[MetricName],
    rules: EgressTable,
) -> Metrics:
    """What is let go of what was asked for. A part with fewer images than may be told of is not told of."""
    let_go = frozenset(asked) & frozenset(rules.metrics)
    shared = tell(evaluated.shared, let_go, rules) if evaluated.shared else None
    return Metrics(
        train_loss=training.loss if training and "train_loss" in let_go else None,
        evaluation=shared,
        # Of the site's own model nothing is told alone.
        personal=tell(evaluated.personal, let_go, rules) if shared and evaluated.personal else None,
        appearance=_told_appearance(evaluated.appearance, rules) if "appearance" in let_go else None,
    )


def metric_words(
    evaluated: Evaluated,
    training: TrainingResult | None,
    *,
    asked: Collection[MetricName],
    rules: EgressTable,
    num_sites: int,
) -> NDArray[np.uint64]:
    """The same as numbers of a sum over so many sites; of the site's own model nothing is in it.

    Parameters
    ----------
    asked
        All metrics of the phase, as the plan names them.
    """
    told = metrics_told(evaluated, training, asked=asked, rules=rules)
    count = reported_count(rules, training.num_examples) if training else None
    rows = rows_of(
        asked,
        train_loss=None if count is None or told.train_loss is None else (count, told.train_loss),
        evaluation=told.evaluation,
        appearance=told.appearance,
    )
    return to_words(rows, num_sites=num_sites)


def digest_of(words: NDArray[np.uint64], update_sha256: str = "") -> str:
    """Hex digest of all that a site puts under the masks of one attempt: metrics, and the update if any."""
    return hashlib.sha256(update_sha256.encode() + words.tobytes()).hexdigest()


def _told_appearance(appearance: Appearance | None, rules: EgressTable) -> Appearance | None:
    count = None if appearance is None else reported_count(rules, appearance.num_examples)
    if appearance is None or count is None or count < LEAST_AT_A_SITE:
        return None
    return appearance.model_copy(update={"num_examples": count})
