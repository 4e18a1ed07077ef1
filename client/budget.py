"""The budget of privacy: what a site has spent of its patients', what a plan would, and what it may.

Epsilon is over all runs that this site has computed for under noise, for the delta of its own policy: the
patients are the same.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from client.accounting import Steps, epsilon, rounded_up, steps_of_a_round
from client.catalog import Catalog, Part
from client.policy.policy import PrivacyTable
from client.store.noisy_rounds import NoisyRounds
from shared.errors import PolicyError
from shared.plan import Plan
from shared.records import Occasion

RULE = "privacy.max_epsilon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Of one site."""

    rounds: NoisyRounds
    catalog: Catalog

    def after(self, plan: Plan, run_id: str, delta: float) -> float:
        """Epsilon when all rounds of a run are computed as well; infinite for one without noise."""
        noise = plan.privacy.patient_noise
        if noise is None:
            return math.inf
        patients = self.catalog.patients(Part.TRAIN, categorised=plan.model.has_band_head)
        steps = steps_of_a_round(plan, noise, max(1, len(set(patients.values()))))
        computed = self.rounds.all()
        done = {each.round_number for each in computed if each.run_id == run_id}
        coming = max(0, plan.rounds.count - len(done))
        return epsilon([*(each.steps for each in computed), *[steps] * coming], delta)

    def require(self, steps: Steps, privacy: PrivacyTable) -> None:
        """Return only if the budget bears these steps as well.

        Raises
        ------
        PolicyError
            It is spent.
        """
        if privacy.max_epsilon is None:
            return
        if epsilon([*(each.steps for each in self.rounds.all()), steps], privacy.delta) > privacy.max_epsilon:
            raise PolicyError(
                f"The budget of privacy is spent: one more round would go beyond {privacy.max_epsilon:g}.",
                f"`mammofed-site privacy` shows what spent it; `{RULE}` in policy.toml is what it is.",
                rules=(RULE,),
            )

    def note(self, occasion: Occasion, steps: Steps) -> None:
        """Write down the steps that a round took, before its update can leave."""
        self.rounds.note(occasion, steps, at=time.time())

    def told(self, plan: Plan, run_id: str) -> float | None:
        """Epsilon of a run with those that it goes on from, which is what their model can tell.

        For the plan's delta, rounded up; None without noise.
        """
        noise = plan.privacy.patient_noise
        if noise is None:
            return None
        computed = self.rounds.all(plan.lineage(run_id))
        return rounded_up(epsilon((each.steps for each in computed), noise.delta))
