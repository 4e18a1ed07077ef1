"""The network, its losses and metrics, and its weights as bytes: what both sides must agree on."""

from __future__ import annotations

import torch

from shared.model.multitask_unet import ARCHITECTURES, Logits, MultitaskUNet
from shared.model.weights import Weights
from shared.plan import ModelPlan, Plan

NETWORKS = {"multitask_unet": MultitaskUNet}

__all__ = ["Logits", "MultitaskUNet", "Weights", "build_model", "initial_model"]


def build_model(plan: ModelPlan) -> MultitaskUNet:
    """The plan's network, its weights drawn from torch's global generator."""
    return NETWORKS[plan.network](ARCHITECTURES[plan.size])


def initial_model(plan: Plan) -> MultitaskUNet:
    """The network that a run starts from: the same plan gives the same bytes on every machine.

    The global generator is left as it was found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return build_model(plan.model)
