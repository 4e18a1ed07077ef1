"""FedProx: averaging at the coordinator, a proximal term at the sites.

Li et al., Federated optimization in heterogeneous networks, MLSys 2020. A site adds mu (w - w_round) to its
gradient, with mu the plan's `proximal_mu` (`client/training/corrections.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from server.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class FedProx(Strategy):
    """The coordinator's part is federated averaging."""
