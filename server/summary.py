"""What a run came to, per round and per site: the one source of progress, model card and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, ConsentState, RoundState
from server.store import Answer, Round, Run
from shared.evaluation.measures import Figure, figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.plan import Plan
from shared.records import Phase


@dataclass(frozen=True, kw_only=True)
class SitePart:
    """One site's part in one round; `personal` is of its own model, over the images of `evaluation`."""

    site: str
    state: AnswerState
    reason: str | None
    num_examples: int | None
    train_loss: float | None
    evaluation: Evaluation | None
    personal: Evaluation | None
    duration_s: float | None

    def value(self, measure: str) -> float | None:
        """A measure of what it evaluated; None where it is not told."""
        return _value(self._figures, measure)

    @cached_property
    def _figures(self) -> Mapping[str, Figure]:
        return figures(self.evaluation) if self.evaluation else {}


def _value(told: Mapping[str, Figure], measure: str) -> float | None:
    figure = told.get(measure)
    return figure.value if figure else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConsent:
    """Where one site stands with the plan; `reason` says why it refuses."""

    site: str
    state: ConsentState
    reason: str


@dataclass(frozen=True, kw_only=True)
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
        How the weights that the round started from do on the images of all sites' validation parts; None
        until a site has answered.
    """

    number: int
    attempt: int
    state: RoundState
    seconds: float | None
    train_loss: float | None
    incoming: Evaluation | None
    parts: Sequence[SitePart]

    def value(self, measure: str) -> float | None:
        """A measure of the incoming weights over all sites; None where it is not told."""
        return _value(self._figures, measure)

    @cached_property
    def _figures(self) -> Mapping[str, Figure]:
        return figures(self.incoming) if self.incoming else {}

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
    consents
        Where each active site stands, and each other one that has decided, by site.
    quorum
        Approvals that the run needs to begin, and answers that a round needs.
    uncounted
        Sites that were asked for their count of examples and take no part without it, with their last word.
    rounds
        Training rounds that were opened, by number.
    test
        The final model on each site's test part, by site; empty before the end.
    """

    run: Run
    num_rounds: int
    quorum: int
    consents: Sequence[SiteConsent]
    uncounted: Sequence[SitePart]
    rounds: Sequence[RoundSummary]
    test: Sequence[SitePart]
    model_id: str | None

    @property
    def num_finished(self) -> int:
        """Rounds that are aggregated."""
        return sum(one.state is RoundState.AGGREGATED for one in self.rounds)

    @property
    def time_left(self) -> str:
        """By the median of the finished rounds; empty where nothing can be said, or the run is over."""
        seconds = sorted(one.seconds for one in self.rounds if one.seconds is not None)
        if not seconds or self.run.finished_at is not None:
            return ""
        return duration(seconds[len(seconds) // 2] * (self.num_rounds - self.num_finished))

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
            "quorum": self.quorum,
            "consents": [asdict(each) for each in self.consents],
            "uncounted": [_part(part) for part in self.uncounted],
            "rounds": [
                {**asdict(one), "incoming": _json(one.incoming), "parts": [_part(part) for part in one.parts]}
                for one in self.rounds
            ],
            "test": [_part(part) for part in self.test],
            "test_of_all": _json(pool([part.evaluation for part in self.test if part.evaluation])),
        }


def duration(seconds: float) -> str:
    """A span of time for a person."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def summarize(run: Run, coordinator: Coordinator) -> RunSummary:
    """Read a run's summary from the store."""
    names = {site.site_id: site.name for site in coordinator.federation.sites()}
    answers = coordinator.runs.answers(run.run_id)
    latest: dict[tuple[Phase, int], Round] = {}
    for attempt in coordinator.runs.rounds(run.run_id):
        latest[attempt.phase, attempt.number] = attempt
    plan = Plan.from_toml(run.plan_toml)
    batches = coordinator.outcomes.counts(plan.lineage(run.run_id))
    counts = {names[site_id]: count for batch in batches for site_id, count in batch.items()}
    rounds = [
        _summarize_round(attempt, _parts(attempt, answers, names), counts)
        for (phase, _), attempt in sorted(latest.items(), key=lambda item: item[0][1])
        if phase is Phase.TRAIN
    ]
    tests = [attempt for (phase, _), attempt in latest.items() if phase is Phase.EVALUATE]
    model = coordinator.models.of_run(run.run_id)
    return RunSummary(
        run=run,
        num_rounds=plan.rounds.count,
        quorum=plan.rounds.quorum,
        consents=_consents(run.run_id, coordinator, names),
        uncounted=_uncounted(answers, names),
        rounds=rounds,
        test=_parts(tests[-1], answers, names) if tests else [],
        model_id=model.model_id if model else None,
    )


def _consents(run_id: str, coordinator: Coordinator, names: dict[str, str]) -> list[SiteConsent]:
    """A site that was not reached yet stands where one does that was asked and has not answered."""
    asked = {each.site_id: each for each in coordinator.consents.of_run(run_id)}
    active = {site.site_id for site in coordinator.federation.active()}
    decided = {site_id for site_id, each in asked.items() if each.state is not ConsentState.OFFERED}
    stands = [
        SiteConsent(
            site=names[site_id],
            state=asked[site_id].state if site_id in asked else ConsentState.OFFERED,
            reason=asked[site_id].reason if site_id in asked else "",
        )
        for site_id in active | decided
    ]
    return sorted(stands, key=lambda each: each.site)


def _uncounted(answers: Sequence[Answer], names: dict[str, str]) -> list[SitePart]:
    """Answers come by attempt, so that a site's last one stands."""
    last = {answer.site_id: answer for answer in answers if answer.phase is Phase.COUNT}
    parts = [
        _to_part(answer, names[answer.site_id])
        for answer in last.values()
        if answer.state not in {AnswerState.ASKED, AnswerState.ADMITTED}
    ]
    return sorted(parts, key=lambda part: part.site)


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
        personal=contribution.personal_evaluation if contribution else None,
        duration_s=contribution.duration_s if contribution else None,
    )


def _summarize_round(attempt: Round, parts: Sequence[SitePart], counts: Mapping[str, int]) -> RoundSummary:
    """The loss is a mean by the examples that sites counted before they trained, whatever they tell later."""
    trained = [(part.train_loss, counts.get(part.site, 0)) for part in parts if part.train_loss is not None]
    total = sum(count for _, count in trained)
    return RoundSummary(
        number=attempt.number,
        attempt=attempt.attempt,
        state=attempt.state,
        seconds=attempt.closed_at - attempt.opened_at if attempt.closed_at else None,
        train_loss=sum(loss * count for loss, count in trained) / total if total else None,
        incoming=pool([part.evaluation for part in parts if part.evaluation]),
        parts=parts,
    )


def _part(part: SitePart) -> dict[str, Any]:
    return {**asdict(part), "evaluation": _json(part.evaluation), "personal": _json(part.personal)}


def _json(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    measures = {name: asdict(figure) for name, figure in figures(evaluation).items()}
    return {"num_examples": evaluation.num_examples, "measures": measures}
