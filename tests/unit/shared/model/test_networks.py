from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from shared.model import ARCHITECTURES, NETWORKS, blank_model, build_model, initial_model, model_around
from shared.model.networks import Logits
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan, Plan, RoundsPlan

ENCODERS = ["resnet18", "efficientnet-b0"]
NUM_PARAMETERS = {
    ("unet", "tiny"): 888_820,
    ("unet", "base"): 6_058_052,
    ("mtl_unet", "tiny"): 1_103_860,
    ("mtl_unet", "base"): 9_759_204,
    ("mild_unet", "tiny"): 702_996,
    ("mild_unet", "base"): 4_857_284,
    ("dyn_unet", "tiny"): 948_444,
    ("dyn_unet", "base"): 6_304_172,
}


def _plan(seed: int) -> Plan:
    return Plan(name="unet", seed=seed, rounds=RoundsPlan(count=1), model=ModelPlan(size="tiny"))


every_variant = pytest.mark.parametrize(
    "plan",
    [
        *(ModelPlan(network=name, size="tiny") for name in NETWORKS),
        *(ModelPlan(encoder=name, size="tiny") for name in ENCODERS),
    ],
    ids=lambda plan: f"{plan.network}-{plan.encoder}",
)


def _tensors(logits: Logits) -> Iterator[Tensor]:
    yield from (logits["breast"], logits["dense"])
    yield from (tensor for level in logits.get("coarser", []) for tensor in _tensors(level))
    if "log_variances_T" in logits:
        yield logits["log_variances_T"]


@every_variant
def test_logits_have_the_size_of_the_image(plan: ModelPlan) -> None:
    network = build_model(plan).eval()
    height, width = 4 * network.stride, 2 * network.stride

    with torch.inference_mode():
        logits = network(torch.rand(2, 1, height, width))

    assert logits["breast"].shape == (2, 3, height, width)
    assert logits["dense"].shape == (2, 1, height, width)
    assert logits.keys() == {"breast", "dense"}


@every_variant
def test_every_network_takes_every_input_that_a_plan_allows(plan: ModelPlan) -> None:
    smallest = ModelPlan(input_height_px=64, input_width_px=64)

    assert smallest.input_height_px % 32 == 32 % build_model(plan).stride == 0


@every_variant
def test_training_teaches_every_parameter(plan: ModelPlan) -> None:
    network = build_model(plan).train()

    # Random weights: the mean alone would not pass an instance norm.
    total = sum(
        (tensor * torch.randn_like(tensor)).sum() for tensor in _tensors(network(torch.rand(2, 1, 64, 64)))
    )
    total.backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@every_variant
def test_weights_are_float32_parameters_and_nothing_else(plan: ModelPlan) -> None:
    network = build_model(plan)

    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


@every_variant
def test_a_blank_model_has_the_names_and_shapes_of_the_plans_network_and_no_memory(plan: ModelPlan) -> None:
    blank, real = (make(plan).state_dict() for make in (blank_model, build_model))

    assert {name: tensor.shape for name, tensor in blank.items()} == {
        name: tensor.shape for name, tensor in real.items()
    }
    assert all(tensor.is_meta for tensor in blank.values())


@every_variant
def test_the_same_weights_and_image_give_the_same_logits_whatever_the_global_generator(
    plan: ModelPlan,
) -> None:
    network = build_model(plan).train()
    image_NCHW = torch.rand(1, 1, 64, 64)

    with torch.no_grad():
        first, again = network(image_NCHW)["dense"], network(image_NCHW)["dense"]

    assert torch.equal(first, again)


@pytest.mark.parametrize(("name", "size"), NUM_PARAMETERS)
def test_networks_hold_exactly_the_parameters_that_the_docs_name(name: str, size: str) -> None:
    network = blank_model(ModelPlan(network=name, size=size, task_weighting="equal"))

    assert sum(parameter.numel() for parameter in network.parameters()) == NUM_PARAMETERS[name, size]


def test_the_weights_of_the_tasks_are_two_parameters_more() -> None:
    weighted, equal = (
        dict(blank_model(ModelPlan(size="tiny", task_weighting=weighting)).named_parameters())
        for weighting in ("uncertainty", "equal")
    )

    assert weighted.keys() - equal.keys() == {"log_variances_T"}
    assert weighted["log_variances_T"].shape == (2,)


def test_a_network_with_deep_supervision_speaks_at_coarser_levels_in_training_alone() -> None:
    network = build_model(ModelPlan(network="dyn_unet", size="tiny")).train()

    coarser = network(torch.rand(1, 1, 64, 32))["coarser"]

    assert [level["breast"].shape for level in coarser] == [(1, 3, 32, 16), (1, 3, 16, 8)]
    assert [level["dense"].shape for level in coarser] == [(1, 1, 32, 16), (1, 1, 16, 8)]
    assert "coarser" not in network.eval()(torch.rand(1, 1, 64, 32))


def test_each_task_teaches_the_encoder_and_only_its_own_decoder() -> None:
    for task, other in (("breast", "dense"), ("dense", "breast")):
        network = build_model(ModelPlan(size="tiny"))

        network(torch.rand(1, 1, 64, 64))[task].square().mean().backward()

        touched = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        encoder = network.segmenter.encoder
        assert {name for name, _ in encoder.named_parameters(prefix="segmenter.encoder")} <= touched
        assert any(name.startswith(f"segmenter.{task}_decoder") for name in touched)
        assert not any(name.startswith(f"segmenter.{other}_decoder") for name in touched)


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
    narrow, plain = (
        [level[0].conv.out_channels for level in build_model(plan).segmenter.encoder.levels]
        for plan in (ModelPlan(size="tiny", width=0.5), ModelPlan(size="tiny"))
    )

    assert plain == list(ARCHITECTURES["tiny"].channels) == [16, 32, 64, 96, 128]
    assert narrow == [8, 16, 32, 48, 64]
