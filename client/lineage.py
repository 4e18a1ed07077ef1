"""A plan that goes on from finished runs, held against what this site knows of them.

What the site kept of those runs is taken up again, so the plan must be one that it can be taken up under, and
the weights must be those that the last of them came to.
"""

from __future__ import annotations

from client.policy.decisions import Ruling
from client.store.plans import Plans
from shared.plan import Plan
from shared.records import Phase

EXTENDS = "plan.extends"
"""Stands for the rule that an extension must be one."""


def lineage_rulings(plan: Plan, plans: Plans) -> list[Ruling]:
    """Whether a plan is the extension that it says it is; nothing for a plan of its own.

    Parameters
    ----------
    plans
        What was offered to this site, and what has left it.
    """
    if not plan.extends:
        return []
    fault = _fault(plan, plan.extends, plans)
    words = fault or "its network, strategy and weights are those of the run that it goes on from"
    return [Ruling(rule=EXTENDS, met=not fault, words=words)]


def _fault(plan: Plan, run_ids: tuple[str, ...], plans: Plans) -> str:
    known = {each.run_id: each.plan for each in plans.all() if each.run_id in run_ids}
    for run_id, earlier in known.items():
        if (earlier.model, earlier.aggregation) != (plan.model, plan.aggregation):
            return f"{run_id}, from which it goes on, had another network or strategy"
    parent = run_ids[-1]
    if parent in known and known[parent].sha256 != plan.parent:
        return f"{parent} had another plan than the one that it names as its parent"
    measured = {each.base_sha256 for each in plans.releases_of(parent) if each.phase is Phase.EVALUATE}
    if not measured <= {plan.initial_weights}:
        return f"the final weights of {parent} that were measured here are others"
    return ""
