import json

import pytest
import torch

from shared.errors import NonFiniteError, StoreError, WeightsError
from shared.model.weights import add, check, from_bytes, load, load_into, save, subtract, to_bytes, weights_of

BASE = {"kernel": torch.arange(6, dtype=torch.float32).reshape(2, 3), "bias": torch.tensor([0.5, -0.5])}


def _headed(header: dict) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def _with(**tensors):
    return {**BASE, **tensors}


def test_weights_come_back_as_they_went():
    back = from_bytes(to_bytes(BASE), like=BASE)

    assert back.keys() == BASE.keys()
    assert all(torch.equal(back[name], BASE[name]) for name in BASE)


def test_the_same_weights_give_the_same_bytes_in_any_order():
    assert to_bytes(BASE) == to_bytes(dict(reversed(BASE.items())))


@pytest.mark.parametrize(
    "weights",
    [
        {"kernel": BASE["kernel"]},
        _with(extra=torch.zeros(1)),
        _with(bias=torch.zeros(1)),
        _with(bias=torch.zeros(2, 1)),
        _with(bias=torch.zeros(2, dtype=torch.float64)),
        _with(bias=torch.zeros(2, dtype=torch.float16)),
        _with(bias=torch.zeros(2, dtype=torch.int32)),
    ],
    ids=["missing", "extra", "broadcastable", "reshaped", "float64", "float16", "int32"],
)
def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(WeightsError):
        from_bytes(to_bytes(weights), like=BASE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(NonFiniteError):
        from_bytes(to_bytes(_with(bias=torch.tensor([0.0, value]))), like=BASE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",
        to_bytes(BASE)[:-1],
        to_bytes(BASE) + b"\0",
        (2**63).to_bytes(8, "little") + b"{}",
        _headed({"bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 99]}}),
        _headed({"bias": {"dtype": "X9", "shape": [0], "data_offsets": [0, 0]}}),
    ],
    ids=["empty", "pickle", "truncated", "trailing", "huge-header", "beyond-end", "unknown-type"],
)
def test_bytes_that_are_not_safetensors_are_refused(data, tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(data)

    with pytest.raises(WeightsError):
        from_bytes(data, like=BASE)
    with pytest.raises(WeightsError):
        load(file, like=BASE)


def test_base_and_update_make_the_local_weights_again():
    local = _with(bias=torch.tensor([1.25, -3.0]))

    update = subtract(local, BASE)

    assert torch.equal(update["bias"], torch.tensor([0.75, -2.5]))
    assert torch.equal(update["kernel"], torch.zeros(2, 3))
    assert torch.equal(add(BASE, update)["bias"], local["bias"])


def test_an_update_of_another_network_is_not_added():
    with pytest.raises(WeightsError):
        add(BASE, {"bias": torch.zeros(2)})


def test_weights_that_do_not_fit_leave_the_model_as_it_was():
    model = torch.nn.Linear(3, 2)
    before = weights_of(model)
    poisoned = {**before, "bias": torch.full((2,), float("nan"))}

    with pytest.raises(NonFiniteError):
        load_into(model, poisoned)

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_copy_of_the_weights_does_not_follow_the_model():
    model = torch.nn.Linear(3, 2)
    copied = weights_of(model)

    with torch.no_grad():
        model.bias.add_(1)

    assert not torch.equal(copied["bias"], model.bias)
    check(copied, like=model.state_dict())


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "weights.safetensors"
    save(BASE, file)
    before = file.read_bytes()
    (tmp_path / "taken").mkdir()

    with pytest.raises(StoreError):
        save(_with(bias=torch.zeros(2)), tmp_path / "taken")

    assert file.read_bytes() == before == to_bytes(BASE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "weights.safetensors"]
    assert torch.equal(load(file, like=BASE)["bias"], BASE["bias"])


def test_a_missing_file_is_told_apart_from_a_bad_one(tmp_path):
    with pytest.raises(StoreError):
        load(tmp_path / "none.safetensors", like=BASE)
