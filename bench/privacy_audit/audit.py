"""All attacks of an audit, one after the other, and what they came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.privacy_audit.differencing import DifferencingRow, attack_by_differencing, refused_second_sum
from bench.privacy_audit.image_values import ImageValueRow, attack_image_values
from bench.privacy_audit.inversion import Descent
from bench.privacy_audit.inversion_trials import InversionRow, attack_pictures, trials_of
from bench.privacy_audit.material import Material
from bench.privacy_audit.membership import MembershipRow, attack_membership
from bench.privacy_audit.properties import PropertyRow, attack_property, simulate_hospitals
from bench.privacy_audit.recommending import Recommendation, recommend, verdicts
from bench.privacy_audit.settings import ladder
from bench.privacy_audit.sites import CPU, Round, fit
from client.evaluation.images import evaluate_images
from client.policy.policy import EgressTable
from shared.model import Weights, initial_model, model_around
from shared.model.weights import weights_of
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan

SEED = 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much an audit tries.

    Attributes
    ----------
    num_women
        Phantoms of so many; two pictures of each.
    width
        Of the network's channels, as a plan has it.
    warm_epochs
        On the attacker's pictures, before the round that membership and density are attacked in.
    num_models
        Of the attacked hospital, each with half of its women.
    local_epochs
        Of a hospital in a round.
    num_hospitals, hospital_size
        Simulated by the attacker; half as many are attacked; pictures of each.
    """

    num_women: int
    width: float
    descent: Descent
    num_targets: int
    num_joint: int
    warm_epochs: int
    num_models: int
    local_epochs: int
    num_hospitals: int
    hospital_size: int


FULL = Effort(
    num_women=60,
    width=0.5,
    descent=Descent(),
    num_targets=2,
    num_joint=2,
    warm_epochs=20,
    num_models=16,
    local_epochs=5,
    num_hospitals=80,
    hospital_size=8,
)
QUICK = Effort(
    num_women=20,
    width=0.25,
    descent=Descent(num_steps=24),
    num_targets=1,
    num_joint=1,
    warm_epochs=4,
    num_models=6,
    local_epochs=2,
    num_hospitals=24,
    hospital_size=4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an audit is asked for.

    Attributes
    ----------
    cohorts
        Numbers of hospitals in a sum.
    noise_multipliers
        Beside none.
    smallest_count
        Of images that a hospital tells of.
    """

    cohorts: tuple[int, ...] = (3, 5, 20)
    noise_multipliers: tuple[float, ...] = (0.003, 0.03, 0.3)
    smallest_count: int = EgressTable().smallest_count
    seed: int = SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit came to.

    Attributes
    ----------
    num_values
        Of an update.
    refusal
        What a site says to a second sum of a round.
    """

    material: Material
    asked: Asked
    plan: Plan
    num_values: int
    inversions: list[InversionRow]
    memberships: list[MembershipRow]
    properties: list[PropertyRow]
    differences: list[DifferencingRow]
    refusal: str
    image_values: list[ImageValueRow]
    recommendations: list[Recommendation]

    def document(self) -> dict[str, Any]:
        """All figures, for a machine."""
        inversions = [
            {name: value for name, value in asdict(row).items() if name != "pictures"}
            for row in self.inversions
        ]
        return {
            "material": self.material.name,
            "asked": asdict(self.asked),
            "plan": self.plan.model_dump(mode="json"),
            "num_values": self.num_values,
            "inversion": inversions,
            "membership": [asdict(row) for row in self.memberships],
            "property": [asdict(row) for row in self.properties],
            "differencing": [asdict(row) for row in self.differences],
            "refusal_of_second_sum": self.refusal,
            "image_values": [asdict(row) for row in self.image_values],
            "recommendations": [asdict(each) for each in self.recommendations],
        }


def audit(
    material: Material, asked: Asked, effort: Effort, *, on_step: Callable[[str], None] = lambda _: None
) -> Audit:
    """Try every attack under every setting.

    Parameters
    ----------
    on_step
        Told in words what begins.
    """
    settings = ladder(asked.cohorts, asked.noise_multipliers)
    plan = plan_of(effort, asked)
    one_step = plan.training.model_copy(update={"batch_size": 1, "local_epochs": 1, "augment": False})
    inversions = attack_pictures(
        material,
        plan.model_copy(update={"training": one_step}),
        trials_of(settings),
        descent=effort.descent,
        num_targets=effort.num_targets,
        num_joint=effort.num_joint,
        on_step=on_step,
        seed=asked.seed,
    )
    on_step("a model that has learnt a little, from the attacker's pictures")
    round_ = Round(plan=plan, base=_warm(material, plan, effort, seed=asked.seed), number=2)
    memberships = attack_membership(
        material, round_, settings, num_models=effort.num_models, on_step=on_step, seed=asked.seed
    )
    on_step(f"property: {effort.num_hospitals} hospitals of the attacker, and half as many others")
    simulated = simulate_hospitals(
        material.attackers, round_, count=effort.num_hospitals, size=effort.hospital_size, seed=asked.seed
    )
    attacked = simulate_hospitals(
        material.attacked,
        round_,
        count=effort.num_hospitals // 2,
        size=effort.hospital_size,
        seed=asked.seed + 1,
    )
    properties = attack_property(attacked, simulated, round_, settings, on_step=on_step, seed=asked.seed)
    random = np.random.default_rng(asked.seed)
    hospitals = [
        [material.attacked[place] for place in random.permutation(len(material.attacked))][
            : effort.hospital_size
        ]
        for _ in range(max(asked.cohorts))
    ]
    differences = attack_by_differencing(hospitals, round_, settings, on_step=on_step, seed=asked.seed)
    on_step("statistics over images")
    fitted = fit(material.attacked, plan)
    dice = [
        image.dice_dense or 0.0
        for image in evaluate_images(model_around(round_.base, plan.model), fitted, plan, CPU)
    ]
    found = verdicts(inversions, memberships, properties)
    return Audit(
        material=material,
        asked=asked,
        plan=plan,
        num_values=sum(tensor.numel() for tensor in round_.base.values()),
        inversions=inversions,
        memberships=memberships,
        properties=properties,
        differences=differences,
        refusal=refused_second_sum(),
        image_values=attack_image_values(dice, EgressTable(smallest_count=asked.smallest_count)),
        recommendations=[recommend(found, num_sites) for num_sites in asked.cohorts],
    )


def plan_of(effort: Effort, asked: Asked) -> Plan:
    """What hospitals train by: the default network in small, and the default training."""
    return Plan(
        name="privacy-audit",
        seed=asked.seed,
        rounds=RoundsPlan(count=10),
        model=ModelPlan(size="tiny", width=effort.width, input_height_px=64, input_width_px=64),
        training=TrainingPlan(local_epochs=effort.local_epochs),
    )


def _warm(material: Material, plan: Plan, effort: Effort, *, seed: int) -> Weights:
    training = plan.training.model_copy(update={"local_epochs": effort.warm_epochs})
    before = Round(plan=plan.model_copy(update={"training": training}), base=weights_of(initial_model(plan)))
    return before.moved(before.update(material.attackers, seed=seed))
