"""Federated averaging.

McMahan et al., Communication-efficient learning of deep networks from decentralized data, AISTATS 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class FedAvg(Strategy):
    """w + sum of share_i u_i / sum of share_i."""
