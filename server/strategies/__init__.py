"""What a coordinator makes of a round's updates: a new one is a file, a line here, a test and a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.strategies.fedadam import FedAdam
from server.strategies.fedavg import FedAvg
from server.strategies.fedbn import FedBN
from server.strategies.fedprox import FedProx
from server.strategies.fedyogi import FedYogi
from server.strategies.median import Median
from server.strategies.multi_krum import MultiKrum
from server.strategies.scaffold import Scaffold
from server.strategies.strategy import Strategy
from server.strategies.trimmed_mean import TrimmedMean
from shared.plan import AggregationPlan, StrategyName

STRATEGIES: Mapping[StrategyName, Callable[[AggregationPlan], Strategy]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedbn": FedBN,
    "scaffold": Scaffold,
    "trimmed_mean": TrimmedMean,
    "median": Median,
    "multi_krum": MultiKrum,
}


def strategy_of(plan: AggregationPlan) -> Strategy:
    """The strategy that a plan names, with the plan's settings."""
    return STRATEGIES[plan.strategy](plan)
