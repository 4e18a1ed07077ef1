"""What a run came from and what came from it, by what the frozen plans say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.coordinator import Coordinator
from server.store import Run
from shared.plan import Plan


class Relation(StrEnum):
    """How another run belongs to one."""

    CONTINUED = "goes on from its weights"
    CHANGED = "changes its plan"
    CONTINUES = "went on from these weights"
    CHANGES = "changed this plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """Another run; `model_id` is what it published, if it did."""

    relation: Relation
    run_id: str
    run_name: str
    model_id: str | None


def lineage(coordinator: Coordinator, run: Run) -> Sequence[Relative]:
    """The runs that a run comes from, then those that come from it, oldest first."""
    models = {model.run_id: model.model_id for model in coordinator.models.all()}
    plan = Plan.from_toml(run.plan_toml)
    before, after = [], []
    for other in coordinator.runs.all():
        if other.run_id == run.run_id:
            continue
        theirs = Plan.from_toml(other.plan_toml)
        if (up := _relation(plan, other, Relation.CONTINUED, Relation.CHANGED)) is not None:
            before.append((up, other))
        elif (down := _relation(theirs, run, Relation.CONTINUES, Relation.CHANGES)) is not None:
            after.append((down, other))
    return [
        Relative(
            relation=relation,
            run_id=other.run_id,
            run_name=other.name,
            model_id=models.get(other.run_id),
        )
        for relation, other in [*before, *after]
    ]


def _relation(plan: Plan, earlier: Run, continued: Relation, changed: Relation) -> Relation | None:
    """How a plan refers to an earlier run; None if it does not."""
    if plan.extends and earlier.run_id in plan.extends:
        return continued
    return changed if plan.parent == earlier.plan_sha256 else None
