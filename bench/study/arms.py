"""The ways of training that a study compares, each from the same first weights.

A model that is trained in one place takes half as many optimiser steps as all sites of the federation
together, rounded down to whole epochs: that is about as many, one after another, as the largest site takes,
and no more helped. A personal model is tested at its own hospital
alone; what it may lose elsewhere is no harm, for it never goes there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from bench.learning import CPU, LearningSite, learn
from bench.study.folds import Fold
from bench.study.results import Result, Settings, segmented, settings_of
from client.imaging.example import Example
from client.training.dataset import FittedDataset
from client.training.personalisation import personalise
from client.training.schedule import training_seed
from client.training.step_counts import num_steps_per_round
from client.training.trainer import TrainingResult, train
from shared.model import Weights, initial_model
from shared.model.weights import weights_of
from shared.plan import PersonalisationPlan, Plan, StrategyName

POOLED, LOCAL, PERSONAL = "pooled", "local ", " personal"
RUN_ID = "study"
STEPS_IN_ONE_PLACE = 0.5
"""As a share of those of all sites of the federation."""
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
    is_personal
        Whether each site makes the federation's model its own at the end, as the plan says.
    """

    name: str
    strategy: StrategyName | None
    sites: tuple[str, ...]
    is_personal: bool = False

    def is_called(self, name: str) -> bool:
        """Whether a name, such as "local", means this arm."""
        return self.name == name or self.name.startswith(f"{name} ")

    def plan(self, study: Plan) -> Plan:
        """What the study's plan becomes for this arm."""
        strategy = self.strategy or study.aggregation.strategy
        aggregation = study.aggregation.model_copy(update={"strategy": strategy})
        own = study.personalisation if self.is_personal else PersonalisationPlan()
        return study.model_copy(update={"aggregation": aggregation, "personalisation": own})

    def settings(self, study: Plan) -> Settings:
        """By which its results under the study's plan are known."""
        return settings_of(self.plan(study))


def local_name(site: str) -> str:
    """The arm of a site that trains alone."""
    return LOCAL + site


def arms_of(sites: Sequence[str], strategies: Sequence[StrategyName], *, personal: bool) -> list[Arm]:
    """Pooled, each site alone, and each federation; the first one is made personal, too, if that is asked."""
    everywhere = tuple(sites)
    federated = [Arm(name=strategy, strategy=strategy, sites=everywhere) for strategy in strategies]
    return [
        Arm(name=POOLED, strategy=None, sites=everywhere),
        *(Arm(name=local_name(site), strategy=None, sites=(site,)) for site in sites),
        *federated,
        *(replace(arm, name=arm.name + PERSONAL, is_personal=True) for arm in federated[:personal]),
    ]


def run_arm(arm: Arm, fold: Fold, study: Plan, on_step: OnStep) -> Result:
    """Train an arm on a fold's training parts and test it on the test parts of all sites."""
    began = time.monotonic()
    plan = arm.plan(study)
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
        steps = int(STEPS_IN_ONE_PLACE * total)
        weights, num_steps = _together(examples, plan, steps, arm.name, on_step)
        weights_of_site = {site.name: weights for site in sites}
    else:
        num_steps, weights_of_site = _federated(sites, plan, total, on_step)
    if arm.is_personal:
        weights_of_site = {
            site.name: _personal(weights_of_site[site.name], site, plan, arm.name) for site in sites
        }
    return Result(
        arm=arm.name,
        fold=fold.number,
        settings=arm.settings(study),
        num_steps=num_steps,
        seconds=time.monotonic() - began,
        images={site.name: segmented(weights_of_site[site.name], site.test, plan) for site in sites},
    )


def _federated(
    sites: Sequence[LearningSite], plan: Plan, total_steps: int, on_step: OnStep
) -> tuple[int, dict[str, Weights]]:
    """Train a federation; returns the number of steps, and the weights that each site ends with."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        on_step(taken, total_steps)

    outcome = learn(plan, sites, bits=plan.aggregation.bits, on_step=count)
    return taken, outcome.own_weights


def _personal(weights: Weights, site: LearningSite, plan: Plan, seed_of: str) -> Weights:
    """A site's own model. The last epoch is kept: few hospitals here could spare images to choose one by."""

    def train_epoch(model: nn.Module, fine_tuning: Plan, epoch: int) -> TrainingResult:
        seed = training_seed(plan.seed, run_id=seed_of, round_number=epoch, attempt=1, site_id=site.name)
        return train(model, site.train, fine_tuning, round_number=epoch, seed=seed, device=CPU)

    return personalise(weights, plan, train_epoch, validation=None, device=CPU).in_place_of(weights)


def _together(
    examples: Sequence[Example], plan: Plan, most_steps: int, seed_of: str, on_step: OnStep
) -> tuple[Weights, int]:
    """Train on examples in one place, in whole epochs; returns the weights and the number of steps."""
    one_epoch = plan.training.model_copy(update={"local_epochs": 1})
    epochs = max(1, most_steps // num_steps_per_round(one_epoch, len(examples)))
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
