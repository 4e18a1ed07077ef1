"""Steps: the same whatever the memory, left out when they are not finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from client.training import stepping
from client.training.dataset import Batch
from client.training.micro_batches import MicroBatches, activation_bytes
from client.training.ranks import Alone, Ranks
from client.training.stepping import Stepper
from shared.model import initial_model
from shared.model.networks import ARCHITECTURES, Architecture
from shared.model.weights import weights_of
from shared.plan import ModelPlan, NetworkName, Plan, RoundsPlan

CPU = torch.device("cpu")
PLAN = Plan(
    name="stepping",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="tiny", input_height_px=96, input_width_px=64),
)


class Memory(nn.Module):
    """A network on a device that holds so many images at once."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network = network
        self.most = most
        self.asked: list[int] = []

    def forward(self, image_NCHW: Tensor) -> object:
        self.asked.append(image_NCHW.shape[0])
        if image_NCHW.shape[0] > self.most:
            raise torch.OutOfMemoryError
        return self.network(image_NCHW)


def _batch(num_images: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        image_NCHW=torch.rand(num_images, 1, 96, 64, generator=generator),
        labels_NHW=torch.randint(0, 4, (num_images, 96, 64), generator=generator).to(torch.uint8),
        band_N=torch.randint(-1, 4, (num_images,), generator=generator),
    )


def _stepper(
    model: nn.Module,
    *,
    correct: Callable[[nn.Module], None] = lambda _model: None,
    micro_batches: MicroBatches | None = None,
    ranks: Ranks | None = None,
) -> Stepper:
    return Stepper(
        model,
        PLAN,
        CPU,
        correct=correct,
        micro_batches=micro_batches or MicroBatches(CPU),
        ranks=ranks or Alone(),
    )


class Together(Alone):
    """As if others had added gradients by every weight."""

    def add_gradients(self, model: nn.Module) -> bool:
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        return True


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "convolution_dtype", lambda _device: torch.float32)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize(("network", "most"), [("mtl_unet", 1), ("mtl_unet", 3), ("dyn_unet", 2)])
def test_a_step_is_the_same_however_many_images_the_memory_holds(network: NetworkName, most: int) -> None:
    model_plan = PLAN.model.model_copy(update={"network": network})
    plan = PLAN.model_copy(update={"model": model_plan})
    gradients: list[list[Tensor]] = []

    def note(model: nn.Module) -> None:
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])

    whole = _stepper(initial_model(plan), correct=note).step(_batch(), 1e-3)
    pieces = _stepper(Memory(initial_model(plan), most), correct=note).step(_batch(), 1e-3)

    assert pieces == pytest.approx(whole, rel=1e-6)
    assert len(gradients[0]) == len(gradients[1]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_what_does_not_fit_is_halved_until_it_does_and_that_is_remembered() -> None:
    model, memory = Memory(initial_model(PLAN), most=2), MicroBatches(CPU)
    stepper = _stepper(model, micro_batches=memory)

    stepper.step(_batch(5), 1e-3)
    first, model.asked = model.asked, []
    stepper.step(_batch(5), 1e-3)

    assert first[:3] == [5, 3, 2]
    assert max(model.asked) == 2
    assert memory.size(PLAN.model, 5) == 2


def test_where_not_even_one_image_fits_it_is_told_and_nothing_has_changed() -> None:
    model = initial_model(PLAN)
    before = weights_of(model)

    with pytest.raises(torch.OutOfMemoryError):
        _stepper(Memory(model, most=0)).step(_batch(), 1e-3)

    assert all(torch.equal(before[name], after) for name, after in weights_of(model).items())


def test_a_cpu_is_not_asked_for_more_than_its_memory_is_estimated_to_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = activation_bytes(PLAN.model)
    monkeypatch.setattr("client.training.micro_batches.memory_for_activations", lambda _device: 5 * one)

    assert MicroBatches(CPU).size(PLAN.model, 8) == 3


def test_the_estimate_of_activations_is_what_backpropagation_keeps() -> None:
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        initial_model(PLAN)(torch.rand(1, 1, 96, 64))
    kept_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    assert activation_bytes(PLAN.model) == pytest.approx(kept_bytes, rel=0.1)


def test_a_step_with_a_gradient_that_is_not_finite_is_left_out_and_the_next_is_taken() -> None:
    model = initial_model(PLAN)
    corrected: list[int] = []
    stepper = _stepper(model, correct=lambda _model: corrected.append(1))
    spoil = model.segmenter.dense_decoder.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of(model)

    assert stepper.step(_batch(), 1e-3) is None

    assert all(torch.equal(before[name], after) for name, after in weights_of(model).items())
    assert not corrected
    spoil.remove()
    assert stepper.step(_batch(), 1e-3) is not None
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights_of(model).values())
    assert corrected == [1]


def test_in_float16_the_loss_is_scaled_until_gradients_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Architecture(stem_stride=2, channels=(4, 8), encoder_depth=1, decoder_depth=1)
    monkeypatch.setitem(ARCHITECTURES, "tiny", small)  # processors are slow with float16
    monkeypatch.setattr(stepping, "convolution_dtype", lambda _device: torch.float16)
    model = initial_model(PLAN)
    stepper = _stepper(model)

    losses = [stepper.step(_batch(), 3e-3) for _ in range(24)]

    taken = [loss for loss in losses if loss is not None]
    assert len(taken) >= 16
    assert taken[-1] < taken[0]
    assert all(tensor.dtype == torch.float32 for tensor in weights_of(model).values())


@pytest.mark.parametrize("ranks", [Alone(), Together()], ids=["alone", "together"])
def test_what_wants_no_gradient_stays_as_it_is_and_does_not_decay(ranks: Ranks) -> None:
    model = initial_model(PLAN)
    frozen = [name for name, weight in model.named_parameters() if "breast_decoder" in name]
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in frozen)
    before = weights_of(model)

    assert _stepper(model, ranks=ranks).step(_batch(), 1e-2) is not None

    after = weights_of(model)
    unchanged = [name for name in before if torch.equal(after[name], before[name])]
    assert frozen
    assert set(unchanged) >= set(frozen)
    assert any("dense_decoder" in name for name in before.keys() - set(unchanged))
