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

    def spent(self, delta: float) -> float:
        """Epsilon of all that was computed so far."""
        return epsilon((each.steps for each in self.rounds.all()), delta)

    def spent_by(self, plan: Plan, run_id: str, delta: float) -> float:
        """Epsilon of a run with those that it goes on from, which is what their model can tell."""
        return epsilon((each.steps for each in self.rounds.all(plan.lineage(run_id))), delta)

    def after(self, plan: Plan, run_id: str, delta: float) -> float:
        """Epsilon when all rounds of a run are computed as well; infinite for one without noise."""
        steps = self._steps(plan)
        if steps is None:
            return math.inf
        computed = self.rounds.all()
        done = {each.round_number for each in computed if each.run_id == run_id}
        coming = max(0, plan.rounds.count - len(done))
        return epsilon([*(each.steps for each in computed), *[steps] * coming], delta)

    def require(self, plan: Plan, privacy: PrivacyTable) -> None:
        """Return only if the budget bears one more round of a plan under noise.

        Raises
        ------
        PolicyError
            It is spent.
        """
        steps = self._steps(plan)
        if steps is None or privacy.max_epsilon is None:
            return
        if epsilon([*(each.steps for each in self.rounds.all()), steps], privacy.delta) > privacy.max_epsilon:
            raise PolicyError(
                f"The budget of privacy is spent: one more round would go beyond {privacy.max_epsilon:g}.",
                f"`mammofed-site privacy` shows what spent it; `{RULE}` in policy.toml is what it is.",
                rules=(RULE,),
            )

    def note(self, plan: Plan, occasion: Occasion) -> None:
        """Write down a round that was computed under noise, before its update can leave."""
        steps = self._steps(plan)
        if steps is not None:
            self.rounds.note(occasion, steps, at=time.time())

    def told(self, plan: Plan, run_id: str) -> float | None:
        """What is told of a run: its epsilon for the plan's delta, rounded up; None without noise."""
        noise = plan.privacy.patient_noise
        return None if noise is None else rounded_up(self.spent_by(plan, run_id, noise.delta))

    def _steps(self, plan: Plan) -> Steps | None:
        """Of one round here; None without noise."""
        noise = plan.privacy.patient_noise
        if noise is None:
            return None
        patients = self.catalog.patients(Part.TRAIN, categorised=plan.model.has_band_head)
        return steps_of_a_round(plan, noise, max(1, len(set(patients.values()))))
