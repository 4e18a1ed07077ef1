"""A step that two processes share is the step of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from client.training import stepping
from client.training.dataset import Batch
from client.training.micro_batches import MicroBatches
from client.training.ranks import Alone, Ranks, ranks_on
from client.training.stepping import Stepper
from shared.model import initial_model
from shared.model.density_band import DensityBandHead
from shared.plan import CategorySource, ModelPlan, NetworkName, Plan, RoundsPlan

CPU = torch.device("cpu")
NUM_STEPS = 3


@pytest.fixture(scope="module")
def two_ranks() -> Iterator[Ranks]:
    """This process and another one, by gloo."""
    with ranks_on([CPU, CPU], None) as ranks:
        yield ranks


def _batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        image_NCHW=torch.rand(5, 1, 96, 64, generator=generator),
        labels_NHW=torch.randint(0, 4, (5, 96, 64), generator=generator).to(torch.uint8),
        band_N=torch.randint(-1, 4, (5,), generator=generator),
    )


def _trained(
    network: NetworkName,
    ranks: Ranks,
    device: torch.device = CPU,
    *,
    density_band: CategorySource | None = None,
) -> tuple[list[float], list[Tensor]]:
    """Losses of some steps, and the gradients of the first: AdamW makes much of what is next to nothing."""
    plan = Plan(
        name="ranks",
        rounds=RoundsPlan(count=1),
        model=ModelPlan(
            network=network,
            size="tiny",
            density_band=density_band,
            input_height_px=96,
            input_width_px=64,
        ),
    )
    gradients: list[Tensor] = []

    def note(model: nn.Module) -> None:
        if not gradients:
            gradients.extend(weight.grad.clone() for weight in model.parameters() if weight.grad is not None)

    model = initial_model(plan).to(device)
    stepper = Stepper(model, plan, device, correct=note, micro_batches=MicroBatches(device), ranks=ranks)
    losses = [stepper.step(_batch(seed).to(device), 1e-4) for seed in range(NUM_STEPS)]
    return [loss for loss in losses if loss is not None], gradients


@pytest.mark.parametrize("network", ["mtl_unet", "dyn_unet"])
def test_losses_and_gradients_are_those_of_one_process(
    network: NetworkName, two_ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "convolution_dtype", lambda _device: torch.float32)
    alone_losses, alone_gradients = _trained(network, Alone())

    losses, gradients = _trained(network, two_ranks)

    assert len(losses) == NUM_STEPS
    assert losses == pytest.approx(alone_losses, rel=1e-4)
    assert _apart(gradients, alone_gradients) < 1e-3


def test_a_head_for_density_bands_has_the_loss_and_gradients_of_one_process(
    two_ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "convolution_dtype", lambda _device: torch.float32)
    alone_losses, alone_gradients = _trained("mtl_unet", Alone(), density_band="readers")

    losses, gradients = _trained("mtl_unet", two_ranks, density_band="readers")

    # Percent density counts pixels: after a step, rounding may have turned some of them.
    assert losses[0] == pytest.approx(alone_losses[0], rel=1e-4)
    assert _apart(gradients, alone_gradients) < 1e-3
    head = slice(-len(list(DensityBandHead(1).parameters())), None)
    assert _apart(gradients[head], alone_gradients[head]) < 1e-3


def _apart(gradients: list[Tensor], others: list[Tensor]) -> float:
    """The length of the difference, as a share."""
    gradient, other = (torch.cat([one.flatten() for one in several]) for several in (gradients, others))
    return ((gradient - other).norm() / other.norm()).item()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_take_the_steps_of_one() -> None:
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    alone_losses, _ = _trained("mtl_unet", Alone(), devices[0])

    with ranks_on(devices, None) as ranks:
        losses, _ = _trained("mtl_unet", ranks, devices[0])

    assert losses == pytest.approx(alone_losses, rel=2e-2)
