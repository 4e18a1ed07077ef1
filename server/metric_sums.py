"""Metrics that sites tell in aggregate only: words under masks, added up as they come, and read once bare."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.credibility import check_evaluation
from server.masking import MaskedRound
from shared.errors import AdmissionError
from shared.evaluation.records import EVALUATED
from shared.evaluation.sums import num_numbers, together
from shared.evaluation.together import Together
from shared.masking.metric_words import from_text, to_numbers
from shared.masking.records import MaskingAsked
from shared.masking.streams import EVALUATION_TERMS, Mask
from shared.plan import MetricName, Plan
from shared.records import Contribution, Phase, Terms, metrics_asked

log = logging.getLogger(__name__)


class MetricSum:
    """The sum of what sites tell of these metrics."""

    def __init__(self, asked: Collection[MetricName]) -> None:
        self._asked = asked
        self._total: NDArray[np.uint64] = np.zeros(num_numbers(asked), np.uint64)
        self._num_added = 0

    def add(self, contribution: Contribution) -> None:
        """Add what a site tells; admission has looked at its length, and nobody can look at more."""
        assert contribution.masked_metrics is not None
        self._total += from_text(contribution.masked_metrics)
        self._num_added += 1

    def take_off(self, mask: Mask) -> None:
        """Take the mask off the sum."""
        self._total -= mask.long_words(self._total.size)

    def together(self) -> Together:
        """What the sites tell together; nothing if it cannot be true: whose fault that is nobody knows."""
        try:
            told = together(self._asked, to_numbers(self._total), num_sites=self._num_added)
            if told.evaluation is not None:
                check_evaluation(told.evaluation, [name for name in EVALUATED if name in self._asked])
        except (ValueError, AdmissionError) as error:
            message = error.message if isinstance(error, AdmissionError) else "They are no statistics."
            log.warning("the sums of the sites' metrics are left out: %s", message)
            return Together()
        return told


@dataclass(slots=True, kw_only=True)
class MaskedEvaluation:
    """One attempt at the evaluation of the final weights: an `Intake` of its exchange, then what it shows."""

    plan: Plan
    metrics: MetricSum = field(init=False)
    _masked: MaskedRound | None = None

    def __post_init__(self) -> None:
        self.metrics = MetricSum(metrics_asked(Phase.EVALUATE, self.plan.metrics))

    def terms(self, _site_id: str) -> Terms | None:
        """None: no update is asked for."""
        return None

    def mask(self, attempt: str) -> MaskedRound:
        """From now on metrics of an attempt are added as they come."""
        privacy = self.plan.privacy
        self._masked = MaskedRound(
            attempt=attempt,
            colluding=privacy.colluding_sites,
            neighbours=privacy.neighbours,
            common=EVALUATION_TERMS,
        )
        return self._masked

    def masking(self, site_id: str) -> MaskingAsked | None:
        """What a site needs to mask its metrics."""
        assert self._masked is not None
        return self._masked.asked(Phase.EVALUATE, site_id)

    def take(self, contribution: Contribution) -> None:
        """Add a site's metrics to the sum."""
        assert self._masked is not None
        self.metrics.add(contribution)
        self._masked.take_masked(contribution.occasion.site_id)

    def unmask(self) -> None:
        """Take the masks off the sum. Raises AggregationError."""
        assert self._masked is not None
        self.metrics.take_off(self._masked.mask_of_sum())
