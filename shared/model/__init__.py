"""The network, its losses, and its weights as bytes: what both sides must agree on."""

from __future__ import annotations

import torch

from shared.model.instance_norm import replace_instance_norms
from shared.model.networks import ARCHITECTURES, NETWORKS, Logits, Network
from shared.model.weights import Weights
from shared.plan import ModelPlan, Plan

__all__ = [
    "ARCHITECTURES",
    "NETWORKS",
    "Logits",
    "Network",
    "Weights",
    "blank_model",
    "build_model",
    "initial_model",
    "model_around",
]


def build_model(plan: ModelPlan) -> Network:
    """The plan's network, its weights drawn from torch's global generator."""
    size = ARCHITECTURES[plan.size].widened(plan.width or 1.0)
    network = Network(NETWORKS[plan.network](size, plan), plan)
    replace_instance_norms(network)
    return network


def blank_model(plan: ModelPlan) -> Network:
    """The plan's network without any weights: its names and shapes, which take no memory."""
    with torch.device("meta"):
        return build_model(plan)


def model_around(weights: Weights, plan: ModelPlan) -> Network:
    """The plan's network around these very tensors, no copies; they were checked to be its weights."""
    model = blank_model(plan)
    model.load_state_dict(weights, assign=True)
    return model


def initial_model(plan: Plan) -> Network:
    """The network that a run starts from: the same plan gives the same bytes on every machine.

    The global generator is left as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return build_model(plan.model)
