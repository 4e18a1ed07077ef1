"""The ways of training that a study compares, each from the same first weights.

Every arm takes as many optimiser steps as the whole federation does under the study's plan, rounded down to
whole epochs: no local model is at a loss for want of training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.learning import CPU, LearningSite, learn, tested
from bench.study.folds import Fold
from bench.study.results import ImageResult, Result
from client.evaluation.images import ImageMetrics
from client.imaging.example import Example
from client.training.dataset import FittedDataset
from client.training.schedule import num_steps_per_round, training_seed
from client.training.trainer import train
from shared.model import Weights, initial_model
from shared.model.weights import weights_of
from shared.plan import Plan, StrategyName

POOLED, LOCAL = "pooled", "local "
RUN_ID = "study"
OnStep = Callable[[int, int], None]
"""Called with the number of optimiser steps taken, of all sites together, and their number in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of training.

    Attributes
    ----------
    name
        In tables and file names.
    strategy
        Of a federation; None trains in one place.
    sites
        Whose training parts it sees.
    """

    name: str
    strategy: StrategyName | None
    sites: tuple[str, ...]


def local_name(site: str) -> str:
    """The arm of a site that trains alone."""
    return LOCAL + site


def arms_of(sites: Sequence[str], strategies: Sequence[StrategyName]) -> list[Arm]:
    """Pooled, each federation, and each site alone."""
    everywhere = tuple(sites)
    return [
        Arm(name=POOLED, strategy=None, sites=everywhere),
        *(Arm(name=strategy, strategy=strategy, sites=everywhere) for strategy in strategies),
        *(Arm(name=local_name(site), strategy=None, sites=(site,)) for site in sites),
    ]


def run_arm(arm: Arm, fold: Fold, plan: Plan, on_step: OnStep) -> Result:
    """Train an arm on a fold's training parts and test it on the test parts of all sites."""
    began = time.monotonic()
    sites = [
        LearningSite(
            name=name,
            train=FittedDataset(fold.train[name], plan.model),
            test=FittedDataset(fold.test[name], plan.model),
        )
        for name in fold.train
    ]
    total = plan.rounds.count * sum(num_steps_per_round(plan.training, len(site.train)) for site in sites)
    if arm.strategy is None:
        examples = [one for name in arm.sites for one in fold.train[name]]
        weights, num_steps = _together(examples, plan, total, arm.name, on_step)
        images = {site.name: tested(weights, site.test, plan) for site in sites}
    else:
        num_steps, images = _federated(arm.strategy, sites, plan, total, on_step)
    return Result(
        arm=arm.name,
        fold=fold.number,
        plan_sha256=plan.sha256,
        num_steps=num_steps,
        seconds=time.monotonic() - began,
        images={site: [ImageResult.of(one) for one in of_site] for site, of_site in images.items()},
    )


def _federated(
    strategy: StrategyName, sites: Sequence[LearningSite], plan: Plan, total_steps: int, on_step: OnStep
) -> tuple[int, dict[str, list[ImageMetrics]]]:
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        on_step(taken, total_steps)

    aggregation = plan.aggregation.model_copy(update={"strategy": strategy})
    outcome = learn(
        plan.model_copy(update={"aggregation": aggregation}), sites, bits=plan.aggregation.bits, on_step=count
    )
    return taken, outcome.images


def _together(
    examples: Sequence[Example], plan: Plan, total_steps: int, seed_of: str, on_step: OnStep
) -> tuple[Weights, int]:
    """Train on examples in one place; returns the weights and the number of steps."""
    one_epoch = plan.training.model_copy(update={"local_epochs": 1})
    epochs = max(1, total_steps // num_steps_per_round(one_epoch, len(examples)))
    alone = plan.model_copy(
        update={
            "rounds": plan.rounds.model_copy(update={"count": 1}),
            "training": plan.training.model_copy(update={"local_epochs": epochs}),
        }
    )
    model = initial_model(plan)
    result = train(
        model,
        FittedDataset(examples, plan.model),
        alone,
        round_number=1,
        seed=training_seed(plan.seed, run_id=RUN_ID, round_number=1, attempt=1, site_id=seed_of),
        device=CPU,
        on_step=lambda step: on_step(step.number, step.num_steps),
    )
    return weights_of(model), result.num_steps
