"""Which tensors a site sends under a plan: what coordinator and site must agree on before a round.

Usually those of the network; under `fedbn` those outside its normalisation layers; under `scaffold` also the
change of the site's control variate, for each tensor of the network one of the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from shared.fixed_point.norm import NormBound
from shared.plan import AggregationPlan

CONTROL = "control:"

EXPONENTS = "exponents"
"""The grid of the next round among the tensors of a strategy's state."""


def control_of(name: str) -> str:
    """The name under which the control variate of a tensor is sent."""
    return CONTROL + name


def local_names(network: nn.Module, plan: AggregationPlan) -> frozenset[str]:
    """Tensors of the network that stay at their site."""
    return norm_names(network) if plan.strategy == "fedbn" else frozenset()


def norm_names(network: nn.Module) -> frozenset[str]:
    """Tensors of the network's normalisation layers."""
    return frozenset(
        f"{path}.{name}"
        for path, layer in network.named_modules()
        if isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
        for name in layer.state_dict()
    )


def sent_shapes(network: nn.Module, plan: AggregationPlan) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is sent, in sorted order."""
    local = local_names(network, plan)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name not in local}
    if plan.strategy == "scaffold":
        shapes |= {control_of(name): shape for name, shape in shapes.items()}
    return dict(sorted(shapes.items()))


def norm_bound(plan: AggregationPlan, sent: Iterable[str], *, share: float) -> NormBound | None:
    """What the plan's bound on the norm of an update is to a site of this share; None if it sets none.

    It counts the weights that are sent. A control variate is of gradients and not of weights: it has no part
    in the norm, and is bounded by the round's grid alone.
    """
    if plan.max_update_norm is None:
        return None
    names = frozenset(name for name in sent if not name.startswith(CONTROL))
    return NormBound(largest=share * plan.max_update_norm, names=names)
