"""What may be told of an evaluation: statistics over enough images, their number rounded.

One rule for all, so that a new statistic cannot be forgotten: whatever says of how many images it is falls
away where these are too few to be told of, with all that stands below it; so does what has nothing to tell.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from client.policy.decisions import reported_count
from client.policy.policy import EgressTable
from shared.evaluation.records import EVALUATED, Evaluation
from shared.plan import MetricName
from shared.tables import Table

COUNT = "num_"
"""What the name of a number of images begins with."""


def tell(evaluation: Evaluation, let_go: Collection[MetricName], rules: EgressTable) -> Evaluation | None:
    """Those metrics of an evaluation that are let go, as they may be told; None if nothing is left.

    Parameters
    ----------
    evaluation
        With true counts.
    rules
        Of the site's policy.
    """
    withheld: dict[str, Any] = {name: None for name in EVALUATED if name not in let_go}
    told: Evaluation | None = _tell(evaluation.model_copy(update=withheld), rules)
    return told


def _tell(table: Any, rules: EgressTable) -> Any:
    if isinstance(table, tuple):
        return tuple(_tell(each, rules) for each in table)
    if not isinstance(table, Table):
        return table
    values = {name: _tell(value, rules) for name, value in table if not name.startswith(COUNT)}
    counts = {name: reported_count(rules, value) for name, value in table if name.startswith(COUNT)}
    if None in counts.values() or all(value is None for value in values.values()):
        return None
    return type(table)(**values, **counts)
