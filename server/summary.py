"""What a run came to, per round and per site: the one source of progress, model card and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.lifecycle import AnswerState, RoundState
from server.store import Answer, Models, Round, Run, Runs, Site
from shared.plan import Plan
from shared.records import Evaluation, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePart:
    """One site's part in one round."""

    site: str
    state: AnswerState
    reason: str | None
    num_examples: int | None
    train_loss: float | None
    evaluation: Evaluation | None
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """The last attempt of one round.

    Attributes
    ----------
    number
        From 1.
    seconds
        From opening to closing; None while open.
    train_loss
        Mean over sites, weighted by training examples.
    incoming
        How the weights that the round started from do on the sites' validation parts: means weighted by
        examples; None until a site has answered.
    """

    number: int
    attempt: int
    state: RoundState
    seconds: float | None
    train_loss: float | None
    incoming: Evaluation | None
    parts: Sequence[SitePart]

    @property
    def num_asked(self) -> int:
        """Sites in the cohort."""
        return len(self.parts)

    @property
    def num_admitted(self) -> int:
        """Sites whose contribution counts."""
        return sum(part.state is AnswerState.ADMITTED for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as far as it has come.

    Attributes
    ----------
    rounds
        Training rounds that were opened, by number.
    test
        The final model on each site's test part, by site; empty before the end.
    """

    run: Run
    num_rounds: int
    rounds: Sequence[RoundSummary]
    test: Sequence[SitePart]
    model_id: str | None

    @property
    def num_finished(self) -> int:
        """Rounds that are aggregated."""
        return sum(one.state is RoundState.AGGREGATED for one in self.rounds)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "run_id": self.run.run_id,
            "name": self.run.name,
            "state": self.run.state.value,
            "failure": self.run.failure,
            "plan_sha256": self.run.plan_sha256,
            "num_rounds": self.num_rounds,
            "num_finished": self.num_finished,
            "model_id": self.model_id,
            "rounds": [
                {**asdict(one), "incoming": _json(one.incoming), "parts": [_part(part) for part in one.parts]}
                for one in self.rounds
            ],
            "test": [_part(part) for part in self.test],
        }


def summarize(run: Run, runs: Runs, models: Models, sites: Sequence[Site]) -> RunSummary:
    """Read a run's summary from the store."""
    names = {site.site_id: site.name for site in sites}
    answers = runs.answers(run.run_id)
    latest: dict[tuple[Phase, int], Round] = {}
    for attempt in runs.rounds(run.run_id):
        latest[attempt.phase, attempt.number] = attempt
    rounds = [
        _summarize_round(attempt, _parts(attempt, answers, names))
        for (phase, _), attempt in sorted(latest.items(), key=lambda item: item[0][1])
        if phase is Phase.TRAIN
    ]
    tests = [attempt for (phase, _), attempt in latest.items() if phase is Phase.EVALUATE]
    model = models.of_run(run.run_id)
    return RunSummary(
        run=run,
        num_rounds=Plan.from_toml(run.plan_toml).rounds.count,
        rounds=rounds,
        test=_parts(tests[-1], answers, names) if tests else [],
        model_id=model.model_id if model else None,
    )


def mean_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Means over sites, weighted by examples; None of none."""
    if not evaluations:
        return None
    total = sum(each.num_examples for each in evaluations)
    with_pectoral = [each for each in evaluations if each.dice_pectoral is not None]
    pectoral_total = sum(each.num_examples for each in with_pectoral)
    return Evaluation(
        num_examples=total,
        loss=sum(each.loss * each.num_examples for each in evaluations) / total,
        dice_dense=_share(sum(each.dice_dense * each.num_examples for each in evaluations) / total),
        dice_breast=_share(sum(each.dice_breast * each.num_examples for each in evaluations) / total),
        dice_pectoral=(
            _share(
                sum((each.dice_pectoral or 0) * each.num_examples for each in with_pectoral) / pectoral_total
            )
            if with_pectoral
            else None
        ),
        percent_density_mae=sum(each.percent_density_mae * each.num_examples for each in evaluations) / total,
    )


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _parts(attempt: Round, answers: Sequence[Answer], names: dict[str, str]) -> list[SitePart]:
    parts = [
        _to_part(answer, names[answer.site_id])
        for answer in answers
        if (answer.phase, answer.number, answer.attempt) == (attempt.phase, attempt.number, attempt.attempt)
    ]
    return sorted(parts, key=lambda part: part.site)


def _to_part(answer: Answer, name: str) -> SitePart:
    contribution = answer.contribution
    return SitePart(
        site=name,
        state=answer.state,
        reason=answer.reason,
        num_examples=contribution.num_examples if contribution else None,
        train_loss=contribution.train_loss if contribution else None,
        evaluation=contribution.evaluation if contribution else None,
        duration_s=contribution.duration_s if contribution else None,
    )


def _summarize_round(attempt: Round, parts: Sequence[SitePart]) -> RoundSummary:
    trained = [(part.train_loss, part.num_examples) for part in parts if part.num_examples]
    total = sum(count or 0 for _, count in trained)
    return RoundSummary(
        number=attempt.number,
        attempt=attempt.attempt,
        state=attempt.state,
        seconds=attempt.closed_at - attempt.opened_at if attempt.closed_at else None,
        train_loss=sum((loss or 0) * (count or 0) for loss, count in trained) / total if total else None,
        incoming=mean_evaluation([part.evaluation for part in parts if part.evaluation]),
        parts=parts,
    )


def _part(part: SitePart) -> dict[str, Any]:
    return {**asdict(part), "evaluation": _json(part.evaluation)}


def _json(evaluation: Evaluation | None) -> dict[str, Any] | None:
    return evaluation.model_dump() if evaluation else None
