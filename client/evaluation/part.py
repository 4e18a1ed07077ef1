"""One part of a site's examples under one set of weights: what there is to tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from client.evaluation.bootstrap import Resampling
from client.evaluation.images import evaluate_images
from client.evaluation.statistics import Statistics
from client.store.parts import Part
from client.training.dataset import FittedDataset
from shared.evaluation.records import Evaluation
from shared.model import Weights, model_around
from shared.plan import Plan
from shared.records import Phase, metrics_asked

PART_OF_PHASE: Mapping[Phase, Part] = MappingProxyType(
    {Phase.TRAIN: Part.VALIDATION, Phase.EVALUATE: Part.TEST}
)
"""What the weights of a phase are measured on."""


def evaluate(
    weights: Weights,
    plan: Plan,
    phase: Phase,
    dataset: FittedDataset,
    patients: Mapping[str, str],
    device: torch.device,
) -> Evaluation:
    """What the plan asks for in a phase, over all images, however few they are; with intervals at the end.

    Parameters
    ----------
    dataset
        Of the phase's part.
    patients
        Whose each example is, by its id.

    Raises
    ------
    NonFiniteError
        See `evaluate_images`.
    """
    asked = metrics_asked(phase, plan.metrics)
    images = evaluate_images(model_around(weights, plan.model), dataset, plan, device, asked=asked)
    resampling = None
    if phase is Phase.EVALUATE:
        # An example that was removed since is nobody's, and stands for itself.
        resampling = Resampling([patients.get(each, each) for each in dataset.example_ids], plan.seed)
    return Statistics(images=images, resampling=resampling).evaluation(asked)
