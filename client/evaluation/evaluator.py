"""One part of a site's examples under one set of weights: what is kept here, and what may be told of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from client.evaluation.bootstrap import Resampling
from client.evaluation.images import evaluate_images
from client.evaluation.statistics import Statistics
from client.evaluation.steadiness import images_to_tell_of
from client.store.evaluations import Evaluations
from client.store.labelled import LabelledExample, LabelledExamples
from client.store.parts import Part
from client.training.dataset import FittedDataset
from shared.appearance import Appearance
from shared.evaluation.records import Evaluation
from shared.model import Weights, model_around
from shared.plan import Plan
from shared.records import Occasion, Phase, metrics_asked

log = logging.getLogger(__name__)

PART_OF_PHASE: Mapping[Phase, Part] = MappingProxyType(
    {Phase.TRAIN: Part.VALIDATION, Phase.EVALUATE: Part.TEST}
)
"""What the weights of a phase are measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What may be told of an evaluation, over all images that it may be told over.

    Attributes
    ----------
    shared
        Of the weights that were asked about; None if nothing may be told.
    personal
        Of these with the site's own layers in them, over the same images; None without such.
    appearance
        Of the training images; None unless it was asked for, and if nothing may be told.
    """

    shared: Evaluation | None
    personal: Evaluation | None = None
    appearance: Appearance | None = None


NOTHING = Evaluated(shared=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Measures weights on a site's examples."""

    labelled: LabelledExamples
    kept: Evaluations
    device: torch.device

    def evaluate(
        self,
        weights: Weights,
        plan: Plan,
        occasion: Occasion,
        dataset: FittedDataset,
        *,
        smallest: int,
        should_stop: Callable[[], bool],
        personal: Weights | None = None,
    ) -> Evaluated:
        """What the plan asks for in a phase; of the final weights with intervals. It is kept, told or not.

        Parameters
        ----------
        dataset
            Of the phase's part.
        smallest
            Number of images that may be told of.
        should_stop
            Asked before every batch.
        personal
            Other weights to be measured on the same images; None for none.

        Raises
        ------
        NonFiniteError, StoppedError
            See `evaluate_images`.
        """
        part = PART_OF_PHASE[occasion.phase]
        known = self.labelled.of(part)
        here = {place: known[each] for place, each in enumerate(dataset.example_ids) if each in known}
        now = frozenset(example.image for example in here.values())
        told = images_to_tell_of(now, self.kept.told(part), smallest=smallest)
        if told is None:
            log.info("the %s part has too few images to tell of, or too few others than before", part.value)
        places = [place for place, example in here.items() if told is None or example.image in told]
        if not places:
            return NOTHING
        before = None
        if told is not None and plan.tells_in_aggregate and occasion.phase is Phase.EVALUATE:
            # What may be in a sum already is told again as it was, to the last bit.
            before = self.kept.again(occasion, part, told)
        if before is not None:
            return Evaluated(shared=before.evaluation, personal=before.personal)
        asked = metrics_asked(occasion.phase, plan.metrics)
        examples = [here[place] for place in places]

        def measured(weights: Weights) -> Evaluation:
            model = model_around(weights, plan.model)
            return Statistics(
                images=evaluate_images(
                    model, dataset, plan, self.device, asked=asked, places=places, should_stop=should_stop
                ),
                categories=[example.category for example in examples],
                resampling=_resampling(examples, plan) if occasion.phase is Phase.EVALUATE else None,
            ).evaluation(asked)

        made, beside = measured(weights), None if personal is None else measured(personal)
        self.kept.keep(occasion, part, told, made, personal=beside, at=time.time())
        return NOTHING if told is None else Evaluated(shared=made, personal=beside)


def _resampling(examples: Sequence[LabelledExample], plan: Plan) -> Resampling:
    return Resampling([example.patient for example in examples], plan.seed)
