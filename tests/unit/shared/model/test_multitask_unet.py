import pytest
import torch

from shared.model import blank_model, build_model, initial_model, model_around
from shared.model.multitask_unet import ARCHITECTURES
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan, Plan, RoundsPlan


def _plan(seed: int) -> Plan:
    return Plan(name="unet", seed=seed, rounds=RoundsPlan(count=1), model=ModelPlan(size="tiny"))


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_logits_have_the_size_of_the_image(size):
    stride = ARCHITECTURES[size].stride
    image_NCHW = torch.rand(2, 1, 4 * stride, 2 * stride)

    with torch.no_grad():
        logits = build_model(ModelPlan(size=size))(image_NCHW)

    assert logits["breast"].shape == (2, 3, 4 * stride, 2 * stride)
    assert logits["dense"].shape == (2, 1, 4 * stride, 2 * stride)


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_every_size_takes_every_input_that_a_plan_allows(size):
    smallest = ModelPlan(size=size, input_height_px=64, input_width_px=64)

    assert ModelPlan.model_fields["input_height_px"].metadata
    assert smallest.input_height_px % ARCHITECTURES[size].stride == 0


@pytest.mark.parametrize(
    ("size", "low", "high"), [("tiny", 300_000, 1_000_000), ("base", 5_000_000, 12_000_000)]
)
def test_sizes_hold_the_parameters_they_promise(size, low, high):
    model = build_model(ModelPlan(size=size))

    assert low <= sum(parameter.numel() for parameter in model.parameters()) <= high


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_weights_are_float32_parameters_and_nothing_else(size):
    model = build_model(ModelPlan(size=size))

    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_each_task_teaches_the_encoder_and_only_its_own_decoder():
    for task, other in (("breast", "dense"), ("dense", "breast")):
        model = build_model(ModelPlan(size="tiny"))

        model(torch.rand(1, 1, 64, 64))[task].square().mean().backward()

        touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert {name for name, _ in model.encoder.named_parameters(prefix="encoder")} <= touched
        assert any(name.startswith(f"{task}_decoder") for name in touched)
        assert not any(name.startswith(f"{other}_decoder") for name in touched)


def test_an_image_is_segmented_alike_alone_and_in_a_batch():
    model = build_model(ModelPlan(size="tiny")).eval()
    image_NCHW = torch.rand(3, 1, 64, 64)

    with torch.no_grad():
        together, alone = model(image_NCHW), model(image_NCHW[1:2])

    torch.testing.assert_close(together["dense"][1:2], alone["dense"], atol=1e-5, rtol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = (to_bytes(weights_of(initial_model(_plan(seed)))) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_making_the_initial_model_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)

    initial_model(_plan(5))

    assert torch.equal(torch.rand(3), expected)


def test_a_blank_model_has_the_names_and_shapes_of_the_plans_network_and_no_memory() -> None:
    plan = ModelPlan(size="tiny")
    blank, real = (make(plan).state_dict() for make in (blank_model, build_model))

    assert {name: tensor.shape for name, tensor in blank.items()} == {
        name: tensor.shape for name, tensor in real.items()
    }
    assert all(tensor.is_meta for tensor in blank.values())


def test_a_model_around_weights_computes_as_one_that_loaded_them_and_holds_no_copy() -> None:
    plan = ModelPlan(size="tiny")
    loaded = build_model(plan).eval()
    weights = weights_of(loaded)
    around = model_around(weights, plan).eval()
    image = torch.rand(1, 1, 64, 64)

    with torch.inference_mode():
        assert torch.equal(around(image)["dense"], loaded(image)["dense"])
    assert all(tensor.data_ptr() == weights[name].data_ptr() for name, tensor in around.state_dict().items())
    assert all(parameter.requires_grad for parameter in around.parameters())


def test_a_plans_width_multiplies_the_channels_of_every_level() -> None:
    narrow, plain = (build_model(ModelPlan(size="tiny", width=width)) for width in (0.5, None))

    assert plain.architecture.channels == (16, 32, 64, 96, 128)
    assert narrow.architecture.channels == (8, 16, 32, 48, 64)
