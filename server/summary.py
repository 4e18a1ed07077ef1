"""What a run came to, as persons are shown it: the one source of progress, pages and model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, ConsentState, RoundState
from server.stages import Steps
from server.store import Answer, Run
from server.store.figures import TRAIN_LOSS, UPDATE_BYTES, Figures
from server.store.histories import RoundHistory
from shared.evaluation.measures import Figure, figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.evaluation.together import Together
from shared.plan import Plan
from shared.records import Phase


@dataclass(frozen=True, kw_only=True)
class SitePart:
    """One site's part in one round.

    Attributes
    ----------
    personal
        Of its own model, over the images of `evaluation`.
    in_aggregate
        Whether it told its metrics in aggregate only: then none is known here.
    """

    site: str
    state: AnswerState
    reason: str | None
    num_examples: int | None
    train_loss: float | None
    evaluation: Evaluation | None
    personal: Evaluation | None
    duration_s: float | None
    steps: Steps
    update_bytes: int | None
    in_aggregate: bool = False

    def value(self, measure: str) -> float | None:
        """A measure of what it evaluated; None where it is not told."""
        figure = self._figures.get(measure)
        return figure.value if figure else None

    @cached_property
    def _figures(self) -> Mapping[str, Figure]:
        return figures(self.evaluation) if self.evaluation else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What sites told in one attempt.

    Attributes
    ----------
    parts
        Every site's, by site.
    together
        What they told in aggregate only; None where each told its metrics.
    """

    parts: Sequence[SitePart]
    together: Together | None = None

    @property
    def by_site(self) -> Mapping[str, Evaluation]:
        """Of each site that told it, by name."""
        return {part.site: part.evaluation for part in self.parts if part.evaluation is not None}

    @property
    def over_all(self) -> Evaluation | None:
        """Over the images of all sites; None if nobody told."""
        return pool(list(self.by_site.values())) if self.together is None else self.together.evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConsent:
    """Where one site stands with the plan; `reason` says why it refuses."""

    site: str
    state: ConsentState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """The last attempt of one round.

    Attributes
    ----------
    number
        From 1.
    seconds
        From opening to closing; None while open.
    num_asked
        Sites in the cohort.
    num_admitted
        Sites whose contribution counts.
    figures
        Over all sites that have answered: the loss of the training by training examples, and how the weights
        that the round started from do on the images of all validation parts.
    """

    number: int
    attempt: int
    state: RoundState
    seconds: float | None
    num_asked: int
    num_admitted: int
    figures: Figures

    @property
    def train_loss(self) -> float | None:
        """Mean over sites, weighted by training examples; None where it is not told."""
        return self.figures.get(TRAIN_LOSS)

    @property
    def update_bytes(self) -> float | None:
        """Of the updates that were admitted; None of rounds before they were counted."""
        return self.figures.get(UPDATE_BYTES)

    def value(self, measure: str) -> float | None:
        """A measure of `PER_ROUND` of the incoming weights over all sites; None where it is not told."""
        return self.figures.get(measure)


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
    parts
        Of the last of them.
    test
        The final model on the sites' test parts; nothing before the end.
    """

    run: Run
    num_rounds: int
    quorum: int
    consents: Sequence[SiteConsent]
    uncounted: Sequence[SitePart]
    rounds: Sequence[RoundSummary]
    parts: Sequence[SitePart]
    test: Telling
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


def duration(seconds: float) -> str:
    """A span of time for a person."""
    minutes, rest = divmod(int(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(num_bytes: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def summarize(run: Run, coordinator: Coordinator) -> RunSummary:
    """Read a run's summary from the store."""
    names, plan = names_of(coordinator), Plan.from_toml(run.plan_toml)
    model = coordinator.models.of_run(run.run_id)
    return RunSummary(
        run=run,
        num_rounds=plan.rounds.count,
        quorum=plan.least_cohort,
        consents=_consents(run.run_id, coordinator, names),
        uncounted=_uncounted(coordinator.runs.answers(run.run_id, Phase.COUNT), names),
        rounds=[_summarize_round(each) for each in coordinator.histories.rounds(run.run_id)],
        parts=last_parts(coordinator, run.run_id, Phase.TRAIN),
        test=last_told(coordinator, run.run_id, Phase.EVALUATE),
        model_id=model.model_id if model else None,
    )


def names_of(coordinator: Coordinator) -> Mapping[str, str]:
    """The sites' names by site id."""
    return {site.site_id: site.name for site in coordinator.federation.sites()}


def last_parts(
    coordinator: Coordinator, run_id: str, phase: Phase, number: int | None = None
) -> list[SitePart]:
    """Every site's part in the last attempt at a round, or at the last round, by site; empty before it."""
    return list(last_told(coordinator, run_id, phase, number).parts)


def last_told(coordinator: Coordinator, run_id: str, phase: Phase, number: int | None = None) -> Telling:
    """What sites told in the last attempt at a round, or at the last round; nothing before it."""
    histories = coordinator.histories
    attempt = histories.last_attempt(run_id, phase, number)
    if attempt is None:
        return Telling(parts=())
    names = names_of(coordinator)
    parts = [part_of(each, names[each.site_id]) for each in histories.answers_of(attempt)]
    return Telling(
        parts=sorted(parts, key=lambda part: part.site),
        together=histories.together(run_id, phase, [attempt.number]).get(attempt.number),
    )


def _consents(run_id: str, coordinator: Coordinator, names: Mapping[str, str]) -> list[SiteConsent]:
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


def _uncounted(answers: Sequence[Answer], names: Mapping[str, str]) -> list[SitePart]:
    """Answers come by attempt, so that a site's last one stands."""
    last = {answer.site_id: answer for answer in answers if answer.phase is Phase.COUNT}
    parts = [
        part_of(answer, names[answer.site_id])
        for answer in last.values()
        if answer.state not in {AnswerState.ASKED, AnswerState.ADMITTED}
    ]
    return sorted(parts, key=lambda part: part.site)


def part_of(answer: Answer, name: str) -> SitePart:
    """A site's part as its answer has it."""
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
        steps=Steps(
            asked_at=answer.asked_at,
            fetched_at=answer.fetched_at,
            sending_at=answer.sending_at,
            answered_at=answer.answered_at,
        ),
        update_bytes=contribution.update.size_bytes if contribution and contribution.update else None,
        in_aggregate=contribution is not None and contribution.masked_metrics is not None,
    )


def _summarize_round(attempt: RoundHistory) -> RoundSummary:
    return RoundSummary(
        number=attempt.number,
        attempt=attempt.attempt,
        state=attempt.state,
        seconds=attempt.closed_at - attempt.opened_at if attempt.closed_at else None,
        num_asked=attempt.num_asked,
        num_admitted=attempt.num_admitted,
        figures=attempt.figures,
    )
