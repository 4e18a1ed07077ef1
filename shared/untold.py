"""What the evaluation of a model cannot show because its plan does not let sites tell it.

A release waits for no supplement that no run under its plan can give. Who adds a way to tell less adds its
line to `_RULES`; the first line that applies to a kind gives the reason that persons read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.evaluation.measures import IN_AGGREGATE
from shared.evaluation.records import EVALUATED
from shared.plan import Plan
from shared.supplements import SupplementKind

OF_EVALUATION = frozenset(SupplementKind) - {SupplementKind.PRIVACY}
"""Kinds that are made of what sites tell of the final model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Plans to which it applies, what they cannot tell, and why."""

    applies: Callable[[Plan], bool]
    kinds: frozenset[SupplementKind]
    why: str


_RULES = (
    _Rule(
        applies=lambda plan: plan.privacy.is_noisy,
        kinds=OF_EVALUATION,
        why="under noise no site tells anything beside its update",
    ),
    _Rule(
        applies=lambda plan: not set(plan.metrics) & set(EVALUATED),
        kinds=OF_EVALUATION,
        why="the plan asks sites for no measure of the model",
    ),
    _Rule(
        applies=lambda plan: plan.tells_in_aggregate,
        kinds=frozenset({SupplementKind.FAIRNESS}),
        why=f"the plan lets metrics out {IN_AGGREGATE}: if the model does worse at one site nobody knows",
    ),
)


def untold(plan: Plan) -> Mapping[SupplementKind, str]:
    """Kinds of supplements that no run under a plan can give, whatever its sites answer, each with why."""
    applying = [rule for rule in _RULES if rule.applies(plan)]
    return {
        kind: next(rule.why for rule in applying if kind in rule.kinds)
        for kind in SupplementKind
        if any(kind in rule.kinds for rule in applying)
    }
