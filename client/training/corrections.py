"""What strategies add to a site's gradients, so that its steps do not drift from the federation's.

Both are changes of a model's gradients between `backward` and the optimiser's step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Proximal:
    """FedProx: mu (w - w_round), the gradient of mu/2 |w - w_round|^2 (Li et al., MLSys 2020)."""

    def __init__(self, model: nn.Module, mu: float) -> None:
        self._mu = mu
        self._start = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def __call__(self, model: nn.Module) -> None:
        """Pull the step towards the weights that the round began with."""
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            start = self._start[name].to(weight.device)
            weight.grad.add_(weight.detach() - start, alpha=self._mu)


class ControlVariates:
    """SCAFFOLD: c - c_i (Karimireddy et al., ICML 2020), from the federation's and the site's own variate.

    Parameters
    ----------
    common, own
        The two variates, by the names of the model's parameters.
    """

    def __init__(self, common: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
        self._own = own
        self._drift = {name: common[name] - own[name] for name in common}
        self._sums = {name: torch.zeros_like(tensor) for name, tensor in own.items()}
        self._num_steps = 0

    def __call__(self, model: nn.Module) -> None:
        """Note the site's gradient, then correct it."""
        self._num_steps += 1
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            self._sums[name] += weight.grad.detach().to(self._sums[name].device)
            weight.grad.add_(self._drift[name].to(weight.device))

    def new_own(self) -> dict[str, Tensor]:
        """The site's next variate: the mean of the gradients that were noted.

        With plain gradient descent of rate r over K steps this is the paper's option II,
        c_i - c + (w_round - w) / (K r).
        """
        return {name: total / self._num_steps for name, total in self._sums.items()}

    def change_of_own(self) -> dict[str, Tensor]:
        """By how much the site's variate changes, which is what it sends."""
        return {name: tensor - self._own[name] for name, tensor in self.new_own().items()}
