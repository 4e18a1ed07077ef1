"""Which tensors a site sends under a plan: what coordinator and site must agree on before a round.

Usually those of the network; under `fedbn` those outside its normalisation layers; under `scaffold` also the
change of the site's control variate, for each tensor of the network one of the same shape.
"""

from __future__ import annotations

from torch import nn

from shared.plan import AggregationPlan

CONTROL = "control:"

EXPONENTS = "exponents"
"""The grid of the next round among the tensors of a strategy's state."""


def control_of(name: str) -> str:
    """The name under which the control variate of a tensor is sent."""
    return CONTROL + name


def local_names(network: nn.Module, plan: AggregationPlan) -> frozenset[str]:
    """Tensors of the network that stay at their site."""
    if plan.strategy != "fedbn":
        return frozenset()
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
