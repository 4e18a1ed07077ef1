"""The figures of a training round that curves and tables show, kept beside what they follow from.

They are worked out once, when an answer is admitted and when an attempt is closed: a page of a long run reads
them instead of every contribution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from shared.evaluation.measures import PER_ROUND, figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.evaluation.together import Together
from shared.records import Contribution

Figures: TypeAlias = Mapping[str, float]
"""By name: the mean loss of the training, the measures of `PER_ROUND`, and of a round the bytes of its
updates; what is not told is left out."""

TRAIN_LOSS = "train_loss"
UPDATE_BYTES = "update_bytes"
NONE: Figures = MappingProxyType({})


def figures_of(contribution: Contribution) -> Figures:
    """Of one site."""
    return _together(contribution.train_loss, contribution.evaluation)


def figures_over(
    contributions: Sequence[Contribution], counts: Mapping[str, int], together: Together | None = None
) -> Figures:
    """Of a round: all but the loss of the training is over the images of all sites.

    Parameters
    ----------
    counts
        Training examples by site as they were counted before the training, whatever is told later: the loss
        is a mean by them.
    together
        What the sites tell in aggregate only.
    """
    size_bytes = sum(each.update.size_bytes for each in contributions if each.update is not None)
    told = _over(contributions, counts)
    if together is not None:
        told = _together(together.train_loss, together.evaluation)
    return {**told, UPDATE_BYTES: size_bytes} if size_bytes else told


def _over(contributions: Sequence[Contribution], counts: Mapping[str, int]) -> Figures:
    trained = [
        (each.train_loss, counts.get(each.occasion.site_id, 0))
        for each in contributions
        if each.train_loss is not None
    ]
    total = sum(count for _, count in trained)
    return _together(
        sum(loss * count for loss, count in trained) / total if total else None,
        pool([each.evaluation for each in contributions if each.evaluation is not None]),
    )


def to_text(worked_out: Figures) -> str:
    """As a row keeps them."""
    return json.dumps(dict(worked_out), separators=(",", ":"))


def from_text(text: str) -> Figures:
    """What a row keeps."""
    read: dict[str, float] = json.loads(text)
    return read


def _together(train_loss: float | None, evaluation: Evaluation | None) -> Figures:
    told = figures(evaluation) if evaluation is not None else {}
    measured = {name: told[name].value for name in PER_ROUND if name in told}
    return measured if train_loss is None else {TRAIN_LOSS: train_loss, **measured}
