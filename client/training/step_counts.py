"""How many steps a round takes, and how likely each patient is to be in one: both follow from the plan."""

from __future__ import annotations

import math

from shared.plan import TrainingPlan


def num_steps_per_round(plan: TrainingPlan, num_examples: int) -> int:
    """Steps that a site with this many examples takes in one round; under noise, with this many patients."""
    return plan.local_epochs * math.ceil(num_examples / plan.batch_size)


def chance_of_a_patient(plan: TrainingPlan, num_patients: int) -> float:
    """With which a step under noise draws each patient: as many as the batch size on average."""
    return min(1.0, plan.batch_size / num_patients)
