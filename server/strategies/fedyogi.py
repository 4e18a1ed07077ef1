"""FedYogi: as FedAdam, with a second momentum that cannot collapse in one round.

Reddi et al., Adaptive federated optimization, ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.strategies.fedadam import FedAdam
from server.strategies.strategy import Array


@dataclass(frozen=True, slots=True)
class FedYogi(FedAdam):
    """v = v - (1 - b2) u^2 sign(v - u^2); all else as FedAdam."""

    def _second_momentum(self, old: Array, squares: Array) -> Array:
        return old - (1 - self.plan.second_momentum) * squares * np.sign(old - squares)
