"""Weights that the coordinator gives a run to start from: read strictly, and in the end a whole set."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch

from shared.errors import StoreError, WeightsError
from shared.model import Weights, blank_model, initial_model
from shared.model.weights import check, weights_of
from shared.package import verify_package
from shared.plan import Plan
from shared.trust.anchors import Anchors


def read_initial_weights(path: Path, plan: Plan, anchors: Anchors, *, partial: bool = False) -> Weights:
    """The weights in a file, for the plan's network.

    Parameters
    ----------
    path
        The folder of a model that this coordinator has published, which is verified first, or a safetensors
        file.
    partial
        Whether the file may hold a part of the network, such as an encoder; the rest is then drawn from the
        plan's seed, as it would be without the file.

    Raises
    ------
    WeightsError
        They are not those of such a network: the message names the first tensor that does not fit.
    NonFiniteError
        A value is not finite.
    NotFoundError, TamperedError, TrustError
        The folder is not a model of this coordinator's; see `verify_package`.
    StoreError
        The file cannot be read.
    """
    given = _parse(_read(path, anchors))
    network = blank_model(plan.model).state_dict()
    for name, tensor in sorted(given.items()):
        if name not in network:
            raise _misfit(f"the network has no tensor '{name}'")
        if tensor.shape != network[name].shape:
            raise _misfit(f"'{name}' is {_shape(tensor)}, and {_shape(network[name])} in the network")
        if tensor.dtype != torch.float32:
            raise _misfit(f"'{name}' is not float32")
    if missing := sorted(network.keys() - given.keys()):
        if not partial:
            raise _misfit(
                f"{len(missing)} of {len(network)} tensors are missing, the first is '{missing[0]}'"
            )
        given = {**weights_of(initial_model(plan)), **given}
    check(given, like=network)
    return given


def _read(path: Path, anchors: Anchors) -> bytes:
    if path.is_dir():
        return verify_package(path, anchors.signing_key, anchors.retired_keys).weights
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            "The initial weights cannot be read.", "Give a safetensors file, or the folder of a model."
        ) from error


def _parse(data: bytes) -> Weights:
    try:
        given: Weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise _misfit("the file is not safetensors") from error
    if not given:
        raise _misfit("the file holds no tensor")
    return given


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _misfit(reason: str) -> WeightsError:
    return WeightsError(
        f"The initial weights do not fit the plan's network: {reason}.",
        "Give weights of the plan's `model`, or `--partial` if a part of it is meant.",
    )
