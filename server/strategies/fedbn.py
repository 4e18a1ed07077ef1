"""FedBN: normalisation layers stay at their site.

Li et al., FedBN: federated learning on non-IID features via local batch normalization, ICLR 2021. Sites
neither send nor take over the tensors of normalisation layers (`shared/model/sent.py`); in the global model
these keep their first values.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class FedBN(Strategy):
    """The coordinator's part is federated averaging of the tensors that are sent."""
