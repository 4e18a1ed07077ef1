"""Instance normalisation that keeps the memory format of what it is given.

torch's own copies channels-last activations to another format and back, and its gradient then leaves the next
layers with two formats: on a CPU this costs more than the convolutions beside it. The same numbers come
cheaper: in channels-last, instance norm is the batch norm of each image alone; otherwise, on a CPU, it is the
group norm with one channel a group.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class InstanceNorm(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without running statistics; weights and results are the same."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if x_NCHW.device.type != "cpu":
            return super().forward(x_NCHW)
        if x_NCHW.is_contiguous(memory_format=torch.channels_last):
            normed = [
                functional.batch_norm(x_1CHW, None, None, self.weight, self.bias, training=True, eps=self.eps)
                for x_1CHW in torch.split(x_NCHW, 1)
            ]
            return torch.cat(normed)
        return functional.group_norm(x_NCHW, x_NCHW.shape[1], self.weight, self.bias, self.eps)


def replace_instance_norms(network: nn.Module) -> None:
    """Put `InstanceNorm` in the place of torch's own, in a network whose weights are still the first ones."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.InstanceNorm2d:
                assert not child.track_running_stats
                setattr(module, name, InstanceNorm(child.num_features, eps=child.eps, affine=child.affine))
