"""What a site sends under a mask: its update, and where metrics are told in aggregate only, their sums.

Both lie under one mask of one attempt, the metrics after the update. What is settled on in a round is both
together (`client.metric_sums.digest_of`): were the metrics others beside the same update, two sums would tell
by what they differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.evaluation.evaluator import Evaluated
from client.metric_sums import digest_of, metric_words
from client.round_records import RoundRecord
from client.training.local_round import rounding_of
from client.training.trainer import TrainingResult
from client.workplace import Workplace
from shared.chance import chance_of
from shared.masking.metric_words import to_text
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import EVALUATION_TERMS, Mask, common_terms
from shared.plan import Plan
from shared.records import Announcement, metrics_asked
from shared.transfer.blob_ref import BlobRef


def masked_update(
    record: RoundRecord, announcement: Announcement, plan: Plan, workplace: Workplace
) -> tuple[BlobRef, str | None]:
    """The update of a record under the mask of this attempt, with the noise of its round, and the metrics.

    Raises
    ------
    EgressError, AggregationError
        See `Egress.mask_update`.
    MaskingError
        See `Party.mask`.
    """
    rounding = rounding_of(record.terms, plan, record.occasion, {})
    evaluated, sha256 = Evaluated(shared=record.evaluation), record.update.digest
    words = _words(evaluated, record.training, announcement, plan, workplace)
    mask, num_sites = workplace.masked_part.mask(
        announcement,
        update_sha256=sha256 if words is None else digest_of(words, sha256),
        common=common_terms(rounding.grid, record.terms.total),
    )
    noise = SiteNoise.of(plan, rounding.grid, rounding.bound)
    drawn = None
    if noise is not None:
        assert record.noise_key is not None
        drawn = noise, chance_of(int(record.noise_key, 16))
    update = workplace.egress.mask_update(record.update, rounding, mask, num_sites=num_sites, noise=drawn)
    return update, None if words is None else _masked(words, mask)


def masked_evaluation(
    evaluated: Evaluated, announcement: Announcement, plan: Plan, workplace: Workplace
) -> str | None:
    """The metrics of the final weights under the mask of this attempt; None where they go without.

    Raises
    ------
    MaskingError
        See `Party.mask`.
    """
    words = _words(evaluated, None, announcement, plan, workplace)
    if words is None:
        return None
    mask, _ = workplace.masked_part.mask(
        announcement, update_sha256=digest_of(words), common=EVALUATION_TERMS
    )
    return _masked(words, mask)


def _words(
    evaluated: Evaluated,
    training: TrainingResult | None,
    announcement: Announcement,
    plan: Plan,
    workplace: Workplace,
) -> NDArray[np.uint64] | None:
    if not plan.tells_in_aggregate:
        return None
    return metric_words(
        evaluated,
        training,
        asked=metrics_asked(announcement.occasion.phase, plan.metrics),
        rules=workplace.guard.policy().egress,
        num_sites=workplace.masked_part.num_sites(announcement),
    )


def _masked(words: NDArray[np.uint64], mask: Mask) -> str:
    return to_text(words + mask.long_words(words.size))
