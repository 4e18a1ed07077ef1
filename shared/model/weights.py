"""Weights as safetensors bytes, checked against a network, and their arithmetic.

Weights are named float32 tensors on the CPU. Reading trusts nothing: the names, shapes and types must be
exactly those of the network, and every value finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from shared.errors import NonFiniteError, StoreError, WeightsError
from shared.files import write_file

Weights = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    """A copy of the model's weights on the CPU, by name."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def load_into(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a model, wherever it lives.

    Raises
    ------
    WeightsError
        They are not the weights of such a model. The model is unchanged.
    NonFiniteError
        A value is not finite. The model is unchanged.
    """
    check(weights, like=model.state_dict())
    model.load_state_dict(weights)


def check(weights: Mapping[str, Tensor], *, like: Mapping[str, Tensor]) -> None:
    """Insist that two sets of weights agree in names, shapes and types, and that the first is finite.

    Raises
    ------
    WeightsError
        A name, a shape or a type differs.
    NonFiniteError
        A value is not finite.
    """
    if weights.keys() != like.keys():
        raise _misfit("their tensors have other names")
    for name, tensor in weights.items():
        if tensor.shape != like[name].shape:
            raise _misfit("a tensor has another shape")
        if tensor.dtype != torch.float32 or like[name].dtype != torch.float32:
            raise _misfit("a tensor is not float32")
    if not all(_is_finite(tensor) for tensor in weights.values()):
        raise NonFiniteError(
            "The weights hold a value that is not finite.", "Discard them and go back to the last good model."
        )


def _is_finite(tensor: Tensor) -> bool:
    """By the least and the greatest value, which are NaN if any is: nothing of the tensor's size is made."""
    return not tensor.numel() or all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(tensor))


def to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as safetensors; the same weights give the same bytes."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()})


def from_bytes(data: bytes, *, like: Mapping[str, Tensor]) -> Weights:
    """Read weights that must fit a network.

    Parameters
    ----------
    data
        safetensors, untrusted.
    like
        Weights of the network they must fit.

    Raises
    ------
    WeightsError
        The bytes are not safetensors, or a name, a shape or a type differs.
    NonFiniteError
        A value is not finite.
    """
    try:
        weights: Weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise _misfit("they are not safetensors") from error
    check(weights, like=like)
    return weights


def save(weights: Mapping[str, Tensor], file: Path) -> None:
    """Write weights whole or not at all.

    Raises
    ------
    StoreError
        The file cannot be written; an older one stays as it was.
    """
    write_file(file, to_bytes(weights))


def load(file: Path, *, like: Mapping[str, Tensor]) -> Weights:
    """Weights in a file, which stays as it is as long as they live: they are read where they lie.

    Parameters
    ----------
    file
        safetensors, untrusted.
    like
        Weights of the network they must fit.

    Raises
    ------
    StoreError
        The file cannot be read.
    WeightsError
        The bytes are not safetensors, or a name, a shape or a type differs.
    NonFiniteError
        A value is not finite.
    """
    try:
        weights: Weights = safetensors.torch.load_file(file)
    except OSError as error:
        raise StoreError(
            "The weights cannot be read.", "Check that the file exists and is readable."
        ) from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise _misfit("they are not safetensors") from error
    check(weights, like=like)
    return weights


def subtract(local: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> Weights:
    """The update that leads from `base` to `local`, tensor by tensor.

    Raises
    ------
    WeightsError
        The two are not of the same network.
    NonFiniteError
        A value of `local` is not finite.
    """
    check(local, like=base)
    return {name: tensor - base[name] for name, tensor in local.items()}


def add(base: Mapping[str, Tensor], update: Mapping[str, Tensor]) -> Weights:
    """The weights that an update leads to from `base`, tensor by tensor.

    Raises
    ------
    WeightsError
        The two are not of the same network.
    NonFiniteError
        A value of `update` is not finite.
    """
    check(update, like=base)
    return {name: tensor + update[name] for name, tensor in base.items()}


def _misfit(reason: str) -> WeightsError:
    return WeightsError(
        f"The weights do not fit the plan's network: {reason}.",
        "Check that both sides run the same version of mammofed under the same plan.",
    )
