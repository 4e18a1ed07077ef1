"""Our instance norm gives torch's numbers in whatever memory format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shared.model import build_model
from shared.model.instance_norm import InstanceNorm
from shared.plan import ModelPlan


def _result(norm: nn.Module, x_NCHW: Tensor, gradient_NCHW: Tensor) -> list[Tensor]:
    x_NCHW = x_NCHW.detach().requires_grad_()
    y_NCHW = norm(x_NCHW)
    y_NCHW.backward(gradient_NCHW)
    assert x_NCHW.grad is not None
    return [y_NCHW.detach(), x_NCHW.grad, *(weight.grad.clone() for weight in norm.parameters())]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_torch_in_every_format(memory_format: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x_NCHW = (3.0 + 2.0 * torch.randn(3, 5, 7, 6, generator=generator)).to(memory_format=memory_format)
    gradient_NCHW = torch.randn(3, 5, 7, 6, generator=generator).to(memory_format=memory_format)
    ours, theirs = InstanceNorm(5, affine=True), nn.InstanceNorm2d(5, affine=True)
    for norm in (ours, theirs):
        norm.load_state_dict({"weight": torch.linspace(0.5, 2.0, 5), "bias": torch.linspace(-1.0, 1.0, 5)})

    found, expected = (_result(norm, x_NCHW, gradient_NCHW) for norm in (ours, theirs))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_channels_last_activations_and_gradients_stay_so() -> None:
    x_NCHW = torch.rand(2, 4, 6, 6).to(memory_format=torch.channels_last)

    y_NCHW, gradient_NCHW, *_ = _result(InstanceNorm(4, affine=True), x_NCHW, x_NCHW)

    assert y_NCHW.is_contiguous(memory_format=torch.channels_last)
    assert gradient_NCHW.is_contiguous(memory_format=torch.channels_last)


def test_every_instance_norm_of_a_network_is_ours() -> None:
    norms = [
        module
        for module in build_model(ModelPlan(size="tiny")).modules()
        if isinstance(module, nn.InstanceNorm2d)
    ]

    assert norms
    assert all(type(norm) is InstanceNorm for norm in norms)
