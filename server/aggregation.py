"""Combining admitted updates into the round's new weights.

Federated averaging (McMahan et al. 2017): base + sum of n_i u_i / sum of n_i, over updates u_i with n_i
training examples. Sums run in float64 in the order of site ids, so that the same answers give the same
bytes whatever the order they arrived in. One update is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from shared.errors import AggregationError, NonFiniteError
from shared.model import Weights

MIN_CONTRIBUTIONS = 2
"""The mean of one contribution is that site's own update: never made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One site's part in an aggregate; `read` loads its update."""

    site_id: str
    num_examples: int
    read: Callable[[], Weights]


def average(base: Weights, shares: Sequence[Share]) -> Weights:
    """The new weights, float32.

    Raises
    ------
    AggregationError
        Fewer than `MIN_CONTRIBUTIONS` shares.
    NonFiniteError
        The result holds a value that is not finite.
    """
    if len(shares) < MIN_CONTRIBUTIONS:
        raise AggregationError(
            "An aggregate of a single site was asked for.", "At least two sites must contribute."
        )
    total = sum(share.num_examples for share in shares)
    sums = {name: tensor.to(torch.float64) for name, tensor in base.items()}
    for share in sorted(shares, key=lambda share: share.site_id):
        for name, update in share.read().items():
            sums[name].add_(update.to(torch.float64), alpha=share.num_examples / total)
    weights = {name: tensor.to(torch.float32) for name, tensor in sums.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise NonFiniteError(
            "The aggregate holds a value that is not finite.",
            "The last good model is unchanged; lower the plan's learning rate.",
        )
    return weights
