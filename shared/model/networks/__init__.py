"""The networks, each one file and one paper, and the one form in which all are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.model.networks.architecture import ARCHITECTURES, Architecture
from shared.model.networks.contract import TASKS, Logits, Segmenter, Task
from shared.model.networks.dyn_unet import DynUNet
from shared.model.networks.mild_unet import MildUNet
from shared.model.networks.mtl_unet import MtlUNet
from shared.model.networks.network import Network
from shared.model.networks.unet import UNet
from shared.plan import ModelPlan, NetworkName

NETWORKS: Mapping[NetworkName, Callable[[Architecture, ModelPlan], Segmenter]] = {
    "unet": lambda size, _plan: UNet(size),
    "mtl_unet": lambda size, plan: MtlUNet(size, plan.encoder),
    "mild_unet": lambda size, _plan: MildUNet(size),
    "dyn_unet": lambda size, _plan: DynUNet(size),
}

__all__ = ["ARCHITECTURES", "NETWORKS", "TASKS", "Architecture", "Logits", "Network", "Segmenter", "Task"]
