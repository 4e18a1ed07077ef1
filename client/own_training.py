"""How a site trains for an announcement: on its own devices, within its policy, telling every step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from torch import nn

from client.accounting import steps_of_a_round
from client.catalog import Part
from client.egress import require_enough
from client.training.dataset import FittedDataset
from client.training.local_round import Correct, Train, leave
from client.training.personalisation import TrainEpoch
from client.training.schedule import training_seed
from client.training.trainer import Step, TrainingResult
from client.work import WorkNote
from client.workplace import Workplace
from shared.errors import NotReadyError
from shared.plan import Plan
from shared.records import Announcement, Occasion

log = logging.getLogger(__name__)


def epoch_trainer(
    dataset: FittedDataset | None, plan: Plan, announcement: Announcement, workplace: Workplace
) -> TrainEpoch:
    """Trains on the training part for one epoch of personalisation; its seeds are those of later rounds."""
    occasion = announcement.occasion

    def train_epoch(model: nn.Module, fine_tuning: Plan, epoch: int) -> TrainingResult:
        assert dataset is not None
        seed = training_seed(
            plan.seed,
            run_id=occasion.run_id,
            round_number=plan.rounds.count + epoch,
            attempt=1,
            site_id=occasion.site_id,
        )
        return workplace.trainer.train(
            model,
            dataset,
            fine_tuning,
            most_gib=workplace.guard.policy().limits.gpu_memory_gib,
            round_number=epoch,
            seed=seed,
            on_step=_tell_step(occasion, workplace.work),
            should_stop=workplace.watch(announcement),
            correct=leave,
        )

    return train_epoch


def trainer_of(plan: Plan, announcement: Announcement, workplace: Workplace) -> Train:
    """Trains on the training part for one round; under noise on patients, by patients and within the budget.

    What it returns raises PolicyError, before a step is taken, where the budget is spent.

    Raises
    ------
    NotReadyError, EgressError
        The part is empty, or smaller than the policy lets it be.
    """
    occasion, policy = announcement.occasion, workplace.guard.policy()
    dataset = workplace.noted_dataset(plan, Part.TRAIN, occasion.run_id)
    if dataset is None:
        raise NotReadyError(
            "This site has no example to train on.", "Add mammograms with `mammofed-site data add FOLDER`."
        )
    require_enough(len(dataset), policy)
    seed = training_seed(
        plan.seed,
        run_id=occasion.run_id,
        round_number=occasion.round_number,
        attempt=occasion.attempt,
        site_id=occasion.site_id,
    )

    noise = plan.privacy.patient_noise

    def train_with(model: nn.Module, correct: Correct) -> TrainingResult:
        train = partial(
            workplace.trainer.train,
            model,
            dataset,
            plan,
            most_gib=policy.limits.gpu_memory_gib,
            round_number=occasion.round_number,
            seed=seed,
            on_step=_tell_step(occasion, workplace.work),
            should_stop=workplace.watch(announcement),
            correct=correct,
        )
        if noise is None:
            return train()
        # Those of this very training: patients may come and go beside it.
        patients = workplace.patients(dataset, plan, Part.TRAIN)
        steps = steps_of_a_round(plan, noise, len(patients))
        workplace.budget.require(steps, policy.privacy)
        result = train(patients=patients)
        workplace.budget.note(occasion, steps)
        return result

    return train_with


def _tell_step(occasion: Occasion, work: WorkNote) -> Callable[[Step], None]:
    def tell_step(step: Step) -> None:
        work.step(step.number, step.num_steps)
        log.info(
            "%s round %d step %d/%d %s",
            occasion.run_id,
            occasion.round_number,
            step.number,
            step.num_steps,
            "left out: not finite" if step.loss is None else f"loss {step.loss:.4f}",
        )

    return tell_step
