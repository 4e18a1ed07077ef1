"""The networks, each one file and one paper, and the one form in which all are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.model.networks.architecture import ARCHITECTURES, Architecture
from shared.model.networks.contract import TASKS, Logits, Segmenter, Task
from shared.model.networks.mild_unet import MildUNet
from shared.model.networks.mtl_unet import MtlUNet
from shared.model.networks.network import Network
from shared.plan import ModelPlan, NetworkName


# MONAI is imported by those networks alone that are made of it: it takes longer than torch.
def _unet(size: Architecture, _plan: ModelPlan) -> Segmenter:
    from shared.model.networks.unet import UNet

    return UNet(size)


def _dyn_unet(size: Architecture, _plan: ModelPlan) -> Segmenter:
    from shared.model.networks.dyn_unet import DynUNet

    return DynUNet(size)


NETWORKS: Mapping[NetworkName, Callable[[Architecture, ModelPlan], Segmenter]] = {
    "unet": _unet,
    "mtl_unet": lambda size, plan: MtlUNet(size, plan.encoder),
    "mild_unet": lambda size, _plan: MildUNet(size),
    "dyn_unet": _dyn_unet,
}

__all__ = ["ARCHITECTURES", "NETWORKS", "TASKS", "Architecture", "Logits", "Network", "Segmenter", "Task"]
