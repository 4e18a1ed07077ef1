"""SCAFFOLD: control variates correct the drift of each site's steps.

Karimireddy et al., SCAFFOLD: stochastic controlled averaging for federated learning, ICML 2020, algorithm 1.
A site adds c - c_i to each gradient and then takes the mean of its round's own gradients for its new c_i:
with plain gradient descent this is the paper's option II, and it stays defined under other optimisers
(`client/training/corrections.py`). The coordinator's c stays the mean of all c_i by the sites' shares, but
for the rounding of float32: a site that did not answer keeps its c_i, so c moves by the sum of what was
answered; and a site moves its c_i by what it has sent, so that what rounding or clipping cut off is in its
next change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from server.strategies.strategy import Array, Change, Step, Strategy


@dataclass(frozen=True, slots=True)
class Scaffold(Strategy):
    """w + mean of u_i, c + sum of share_i (c_i' - c_i)."""

    state_sets: ClassVar[tuple[str, ...]] = ("control",)

    def step(self, weights: Array, change: Change, state: Mapping[str, Array]) -> Step:
        """The paper's lines 16 and 17, with a global step size of 1."""
        assert change.control is not None
        return Step(weights=weights + change.weights, state={"control": state["control"] + change.control})
