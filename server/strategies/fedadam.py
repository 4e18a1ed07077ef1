"""FedAdam: the coordinator takes the mean update for a gradient and steps as Adam does.

Reddi et al., Adaptive federated optimization, ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from server.strategies.strategy import Array, Change, Step, Strategy


@dataclass(frozen=True, slots=True)
class FedAdam(Strategy):
    """m = b1 m + (1 - b1) u, v = b2 v + (1 - b2) u^2, w + rate m / (sqrt(v) + adaptivity)."""

    state_sets: ClassVar[tuple[str, ...]] = ("momentum", "second_momentum")

    def first_state(self, weights: Array) -> dict[str, Array]:
        """No momentum; a second one of adaptivity squared, the least that the paper allows."""
        return {
            "momentum": np.zeros_like(weights),
            "second_momentum": np.full_like(weights, self.plan.adaptivity**2),
        }

    def step(self, weights: Array, change: Change, state: Mapping[str, Array]) -> Step:
        """One step of Adam without bias correction, as in the paper."""
        momentum = self.plan.momentum * state["momentum"] + (1 - self.plan.momentum) * change.weights
        second = self._second_momentum(state["second_momentum"], change.weights**2)
        moved = self.plan.server_learning_rate * momentum / (np.sqrt(second) + self.plan.adaptivity)
        return Step(weights=weights + moved, state={"momentum": momentum, "second_momentum": second})

    def _second_momentum(self, old: Array, squares: Array) -> Array:
        return self.plan.second_momentum * old + (1 - self.plan.second_momentum) * squares
