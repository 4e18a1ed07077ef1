"""One round's training as the plan's strategy wants it: from the round's weights to what is to be sent.

A site's state between rounds is named tensors: `local:` layers that stay here (fedbn), the site's own
`control:` variate (scaffold), and what rounding still owes (`residual:`, with 8 bits).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from client.training.corrections import ControlVariates, Proximal
from client.training.trainer import TrainingResult
from shared.errors import NotApprovedError, TrustError
from shared.fixed_point.grid import Grid, Integers
from shared.fixed_point.rounding import Rounding, no_residual, rounding_key
from shared.model import Weights, blank_model, initial_model, model_around
from shared.model.sent import CONTROL, control_of, local_names, norm_bound, sent_shapes
from shared.model.weights import weights_of
from shared.plan import Plan
from shared.records import Occasion, Terms

LOCAL = "local:"
RESIDUAL = "residual:"

Correct = Callable[[nn.Module], None]
Train = Callable[[nn.Module, Correct], TrainingResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRound:
    """What training came to.

    Attributes
    ----------
    update
        Exactly the tensors that the plan's strategy sends.
    state
        What the next round needs, but for what follows from rounding: `residual_state` and `control_state`.
    """

    result: TrainingResult
    update: Weights
    state: Weights


def own_weights(base: Weights, plan: Plan, state: Mapping[str, Tensor]) -> Weights:
    """The round's weights with this site's own layers in them."""
    if plan.aggregation.strategy != "fedbn":
        return base
    local = local_names(blank_model(plan.model), plan.aggregation)
    return {
        name: state.get(LOCAL + name, tensor) if name in local else tensor for name, tensor in base.items()
    }


def require_drawn(base: Weights, plan: Plan) -> None:
    """Return only if weights are those that a plan's seed gives, but for what machines round differently.

    From weights that somebody crafted an update can tell an image (Geiping et al., NeurIPS 2020; Fowl et al.,
    ICLR 2022); those that a run begins with need be nobody's choice.

    Raises
    ------
    NotApprovedError
        They are others.
    """
    drawn = weights_of(initial_model(plan))
    if not all(torch.allclose(base[name], drawn[name], rtol=1e-4, atol=1e-6) for name in drawn):
        raise NotApprovedError(
            "The first round was asked for from other weights than the approved plan's seed gives.",
            "Tell the coordinator: weights of its own are named in a plan (`run start --initial-weights`).",
        )


def train_round(
    base: Weights, plan: Plan, state: Mapping[str, Tensor], common_control: Weights, train: Train
) -> LocalRound:
    """Train for one round.

    Parameters
    ----------
    base
        The round's weights.
    state
        This site's state after its last round; empty before the first.
    common_control
        The federation's control variate by names of weights; empty but for scaffold.
    train
        Trains a model in place.
    """
    before = own_weights(base, plan, state)
    model = model_around({name: tensor.clone() for name, tensor in before.items()}, plan.model)
    variates: ControlVariates | None = None
    correct: Correct = leave
    if plan.aggregation.strategy == "fedprox":
        correct = Proximal(model, plan.aggregation.proximal_mu)
    elif plan.aggregation.strategy == "scaffold":
        own = {name: state.get(control_of(name), torch.zeros_like(base[name])) for name in base}
        correct = variates = ControlVariates(common_control, own)
    result = train(model, correct)
    after = weights_of(model)
    local = local_names(model, plan.aggregation)
    update = {name: tensor - base[name] for name, tensor in after.items() if name not in local}
    kept = {LOCAL + name: after[name] for name in local}
    if variates is not None:
        update |= {control_of(name): tensor for name, tensor in variates.change_of_own().items()}
    return LocalRound(result=result, update=update, state=kept)


def rounding_of(terms: Terms | None, plan: Plan, occasion: Occasion, state: Mapping[str, Tensor]) -> Rounding:
    """How the update of an occasion is rounded.

    Raises
    ------
    TrustError
        The announced terms are not those of the plan.
    """
    sent = sent_shapes(blank_model(plan.model), plan.aggregation)
    needs_state = plan.aggregation.strategy == "scaffold"
    if (
        terms is None
        or terms.bits != plan.aggregation.bits
        or len(terms.exponents) != len(sent)
        or (terms.state is not None) != needs_state
        # Were shares unlike, so would be the parts in the noise.
        or (plan.privacy.site_noise is not None and terms.weight != 1)
    ):
        raise TrustError("The terms of a round are not those of its plan.", "Tell the coordinator.")
    grid = Grid(bits=terms.bits, shapes=sent, exponents=dict(zip(sent, terms.exponents, strict=True)))
    residual = None
    if terms.bits == 8:
        # What a control variate's change lacks is in the next change, see `control_state`.
        owed = no_residual(grid)
        residual = {name: values for name, values in owed.items() if not name.startswith(CONTROL)}
        for name in residual.keys() & {
            key.removeprefix(RESIDUAL) for key in state if key.startswith(RESIDUAL)
        }:
            residual[name] = state[RESIDUAL + name].numpy().copy()
    key = rounding_key(
        plan.seed,
        run_id=occasion.run_id,
        round_number=occasion.round_number,
        attempt=occasion.attempt,
        site_id=occasion.site_id,
    )
    share = terms.weight / terms.total
    bound = norm_bound(plan.aggregation, sent, share=share)
    return Rounding(grid=grid, share=share, key=key, residual=residual, bound=bound)


def residual_state(rounding: Rounding) -> Weights:
    """What rounding owes after an update was written, as state of the site."""
    return {RESIDUAL + name: torch.from_numpy(owed) for name, owed in (rounding.residual or {}).items()}


def control_state(state: Mapping[str, Tensor], rounding: Rounding, sent: Iterable[Integers]) -> Weights:
    """The site's control variate after an update: moved by what was sent, as the coordinator moves its own.

    What rounding and clipping left out of its change is in the next round's change.

    Parameters
    ----------
    state
        The site's state before the update.
    sent
        The update's blocks, read only if a control variate is among them.
    """
    grid = rounding.grid
    moved = {name: np.zeros(grid.size(name), np.float32) for name in grid.shapes if name.startswith(CONTROL)}
    if not moved:
        return {}
    for block, integers in zip(grid.blocks(), sent, strict=True):
        if block.name in moved:
            step = grid.step(block.name) / rounding.share
            moved[block.name][block.start : block.stop] = integers * step
    changes = {name: torch.from_numpy(flat).reshape(grid.shapes[name]) for name, flat in moved.items()}
    return {name: state.get(name, torch.zeros_like(change)) + change for name, change in changes.items()}


def control_like(base: Weights) -> Weights:
    """The form of the federation's control variate, as it is announced."""
    return {CONTROL + name: tensor for name, tensor in base.items()}


def leave(_model: nn.Module) -> None:
    """No correction."""
