"""A run as a machine is told it: every part of every round, and every measure of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from server.coordinator import Coordinator
from server.store import Answer
from server.summary import RoundSummary, RunSummary, SitePart, Telling, names_of, part_of
from shared.evaluation.measures import figures
from shared.evaluation.records import Evaluation
from shared.evaluation.together import Together
from shared.records import Phase


def run_document(summary: RunSummary, coordinator: Coordinator) -> dict[str, Any]:
    """JSON values; reads the answers of all rounds."""
    names = names_of(coordinator)
    parts: dict[tuple[int, int], list[SitePart]] = {}
    answers: Sequence[Answer] = coordinator.runs.answers(summary.run.run_id, Phase.TRAIN)
    for answer in answers:
        parts.setdefault((answer.number, answer.attempt), []).append(part_of(answer, names[answer.site_id]))
    together = coordinator.histories.together(summary.run.run_id, Phase.TRAIN)
    return {
        "run_id": summary.run.run_id,
        "name": summary.run.name,
        "state": summary.run.state.value,
        "failure": summary.run.failure,
        "plan_sha256": summary.run.plan_sha256,
        "num_rounds": summary.num_rounds,
        "num_finished": summary.num_finished,
        "model_id": summary.model_id,
        "quorum": summary.quorum,
        "consents": [asdict(each) for each in summary.consents],
        "uncounted": [_part(part) for part in summary.uncounted],
        "rounds": [
            _round(one, parts[one.number, one.attempt], together.get(one.number)) for one in summary.rounds
        ],
        "test": [_part(part) for part in summary.test.parts],
        "test_of_all": _evaluation(summary.test.over_all),
    }


def _round(one: RoundSummary, parts: Sequence[SitePart], together: Together | None) -> dict[str, Any]:
    return {
        "number": one.number,
        "attempt": one.attempt,
        "state": one.state,
        "seconds": one.seconds,
        "train_loss": one.train_loss,
        "incoming": _evaluation(Telling(parts=parts, together=together).over_all),
        "parts": [_part(part) for part in sorted(parts, key=lambda part: part.site)],
    }


def _part(part: SitePart) -> dict[str, Any]:
    return {
        "site": part.site,
        "state": part.state,
        "reason": part.reason,
        "num_examples": part.num_examples,
        "train_loss": part.train_loss,
        "evaluation": _evaluation(part.evaluation),
        "personal": _evaluation(part.personal),
        "duration_s": part.duration_s,
        "metrics_in_aggregate_only": part.in_aggregate,
    }


def _evaluation(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    measures = {name: asdict(figure) for name, figure in figures(evaluation).items()}
    return {"num_examples": evaluation.num_examples, "measures": measures}
