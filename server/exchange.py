"""One exchange: a cohort is asked for one phase, and its answers are taken as they arrive."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from server.admission import check_ownership, read_answer
from server.channel import Outgoing, Reply
from server.lifecycle import AnswerState, ConsentState, RoundState
from server.patience import missed_deadlines, patience_s, training_times_s
from server.session import Session, require_going_on
from server.store import Answer, Checkpoint, Round, Site
from server.store.outcomes import Outcome
from shared.errors import (
    AdmissionError,
    BundleError,
    PausedError,
    TamperedError,
    VersionError,
)
from shared.evaluation.sums import num_numbers
from shared.masking.records import MaskingAsked
from shared.records import (
    ANNOUNCEMENT_TYPE,
    Announcement,
    Contribution,
    Occasion,
    Phase,
    Refusal,
    Terms,
    metrics_asked,
)
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import VerifyKey

log = logging.getLogger(__name__)

REVOKED = "the site was revoked"
UNSENT = "the message could not be sent to the site"
SENT_AT_ONCE = 8
"""Messages that go to Flower in one call: with many sites the calls would take longer than the sites."""

POLL_S = 0.1
PRESENCE_POLL_S = 1.0
LONGEST_REST_S = 86_400.0
"""A site's hours come again every day; no run waits longer for what one site says."""

PAUSED = "the site has paused"
OTHER_VERSION = "the site speaks another version of the protocol, or does not approve of this one"
WITHDRAWN = "the site has taken its approval back"


class Intake(Protocol):
    """What becomes of what is told in one exchange, and on which terms it is asked for."""

    def terms(self, site_id: str) -> Terms | None:
        """What a site is told of how it scales and rounds its update."""

    def masking(self, site_id: str) -> MaskingAsked | None:
        """What a site is asked under secure aggregation."""

    def take(self, contribution: Contribution) -> None:
        """Take a contribution in, or leave no trace of it and raise AdmissionError.

        It is recorded as admitted afterwards: if that fails, the intake is good for nothing any more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A site that was asked, and what it was asked for."""

    site: Site
    occasion: Occasion
    envelope: bytes
    asked_at: float


def open_round(
    session: Session,
    cohort: list[Site],
    base: Checkpoint,
    *,
    number: int,
    phase: Phase,
    attempt: int | None = None,
    at_most_s: float = math.inf,
    carried: Sequence[Answer] = (),
) -> Round:
    """Record an attempt at a phase before any site is asked.

    Parameters
    ----------
    attempt
        Its number; the next one of this phase if not said.
    at_most_s
        How long it may wait, where that is less than the plan's timeout.
    carried
        Answers to the attempt before that count in this one; their sites are not in the cohort.
    """
    now, wait_s = time.time(), min(session.plan.rounds.timeout_s, at_most_s)
    if phase is Phase.TRAIN:
        took_s = training_times_s(session.coordinator.runs.timings(session.run.run_id))
        wait_s = patience_s(wait_s, [*took_s, *session.lateness.training_times_s()])
    opened = Round(
        run_id=session.run.run_id,
        number=number,
        attempt=attempt or session.coordinator.runs.next_attempt(session.run.run_id, number, phase),
        phase=phase,
        state=RoundState.OPEN,
        base=base.weights,
        base_state=base.state if phase is Phase.TRAIN else None,
        aggregate=None,
        opened_at=now,
        deadline=now + wait_s,
        closed_at=None,
        base_delta=base.delta if phase in {Phase.TRAIN, Phase.EVALUATE} else None,
    )
    session.coordinator.runs.open_round(opened, [site.site_id for site in cohort], carried=carried)
    return opened


def exchange(
    session: Session, opened: Round, cohort: list[Site], intake: Intake | None = None, *, needed: int = 0
) -> list[Contribution]:
    """Ask the cohort and collect what is admitted, until all have answered or the deadline is over.

    Sites that have missed a deadline are asked as the others are, but not waited for until they have shown
    that they live: by any answer, or a node that was started since.

    Parameters
    ----------
    intake
        Without one neither updates nor anything of masks is asked for.
    needed
        Answers without which every site is waited for.

    Raises
    ------
    AggregationError, ClockError
        See `require_going_on`.
    """
    silent = _silent(session, cohort)
    own, checkpoint = session.coordinator.kept_digests(), session.coordinator.checkpoint()
    outcomes = session.coordinator.outcomes.of(session.plan.lineage(session.run.run_id))
    pending: dict[str, _Asked] = {}
    for first in range(0, len(cohort), SENT_AT_ONCE):
        pending |= _send(
            session,
            [
                _announce(session, opened, site, intake, outcomes.get(site.site_id, Outcome()), checkpoint)
                for site in cohort[first : first + SENT_AT_ONCE]
            ],
        )
    contributions: list[Contribution] = []
    looked_at = time.monotonic()
    while (
        any(asked.site.site_id not in silent for asked in pending.values())
        or (pending and len(contributions) < needed)
    ) and time.time() < opened.deadline:
        time.sleep(POLL_S)
        overdue = session.lateness.message_ids()
        replies = session.channel.receive([*pending, *overdue])
        session.steadiness.require()  # else what SuperLink says in the place of nodes means nothing
        for reply in replies:
            if reply.message_id in overdue:
                silent.discard(session.lateness.hear(reply, now=time.time()) or "")
                continue
            if reply.message_id not in pending:
                continue  # handed over twice
            asked = pending.pop(reply.message_id)
            if reply.envelope is None and (moved := _moved(session, asked)) is not None:
                pending |= _ask_again(session, asked, moved)
            elif (contribution := _take(session, asked, reply, intake, own)) is not None:
                contributions.append(contribution)
        if time.monotonic() - looked_at > PRESENCE_POLL_S:
            looked_at = time.monotonic()
            before, pending = pending, _follow_presence(session, pending)
            silent -= {pending[new].site.site_id for new in pending.keys() - before.keys()}
    session.steadiness.require()  # else the deadline means nothing
    for message_id, asked in pending.items():
        site_id = asked.site.site_id
        session.lateness.note(site_id, message_id, asked.occasion.phase, asked_at=asked.asked_at)
    return contributions


def _silent(session: Session, cohort: list[Site]) -> set[str]:
    """The sites of a cohort that have missed a deadline and shown no sign of life since."""
    missed = missed_deadlines(session.coordinator.runs.timings(session.run.run_id))
    online = session.channel.online()
    return {
        site.site_id
        for site in cohort
        if missed.get(site.site_id, 0.0)
        > max(online.get(site.node_id or 0, 0.0), session.lateness.heard_at(site.site_id))
    }


def _announce(
    session: Session, opened: Round, site: Site, intake: Intake | None, outcome: Outcome, checkpoint: str
) -> _Asked:
    plan_toml = session.run.plan_toml.encode()
    occasion = Occasion(
        run_id=opened.run_id,
        plan_sha256=session.run.plan_sha256,
        round_number=opened.number,
        attempt=opened.attempt,
        phase=opened.phase,
        site_id=site.site_id,
        base_digest=opened.base.digest,
    )
    announcement = Announcement(
        occasion=occasion,
        plan=BlobRef.of(plan_toml),
        base=opened.base,
        terms=intake.terms(site.site_id) if intake else None,
        counted=outcome.counted,
        rejected=outcome.rejected,
        metrics=metrics_asked(opened.phase, session.plan.metrics),
        deadline=opened.deadline,
        checkpoint=checkpoint,
        delta=opened.base_delta,
        masking=intake.masking(site.site_id) if intake else None,
    )
    envelope = sign(ANNOUNCEMENT_TYPE, announcement.to_bytes(), session.coordinator.signing_key).to_bytes()
    return _Asked(site=site, occasion=occasion, envelope=envelope, asked_at=time.time())


def _send(session: Session, asked: Sequence[_Asked]) -> dict[str, _Asked]:
    """Send announcements; a site that one cannot be sent to is lost to this attempt."""
    messages = []
    for each in asked:
        assert each.site.node_id is not None
        messages.append(Outgoing(node_id=each.site.node_id, envelope=each.envelope))
    # Beyond the deadline, so that a late answer still shows that the site lives.
    message_ids = session.channel.send(messages, expires_in_s=2 * session.plan.rounds.timeout_s)
    pending: dict[str, _Asked] = {}
    for each, message_id in zip(asked, message_ids, strict=True):
        if message_id is None:
            session.coordinator.runs.record_answer(
                each.occasion, AnswerState.LOST, at=time.time(), reason=UNSENT
            )
        else:
            pending[message_id] = each
    return pending


def _take(
    session: Session, asked: _Asked, reply: Reply, intake: Intake | None, own: frozenset[str]
) -> Contribution | None:
    """Admit one reply or record why not; `own` are the digests of the coordinator's own blobs."""
    runs = session.coordinator.runs
    if reply.envelope is None:
        runs.record_answer(asked.occasion, AnswerState.LOST, at=time.time(), reason=_failure(reply))
        return None
    if not session.coordinator.federation.is_active(asked.site.site_id):
        runs.record_answer(asked.occasion, AnswerState.LOST, at=time.time(), reason=REVOKED)
        return None
    try:
        key = signing_key(session, asked.site.site_id, reply.envelope, asked_at=asked.asked_at)
        metrics = metrics_asked(asked.occasion.phase, session.plan.metrics)
        in_aggregate = session.plan.tells_in_aggregate and asked.occasion.phase in {
            Phase.TRAIN,
            Phase.EVALUATE,
        }
        personal = asked.occasion.phase is Phase.EVALUATE and session.plan.personalisation.layers != "none"
        noisy = asked.occasion.phase is Phase.TRAIN and session.plan.privacy.patient_noise is not None
        answer = read_answer(
            reply.envelope,
            asked.occasion,
            key,
            asked=metrics,
            personal=personal,
            noisy=noisy,
            num_words=num_numbers(metrics) if in_aggregate else None,
        )
        session.coordinator.keep_checkpoint(asked.site.site_id, answer.checkpoint, key)
        if isinstance(answer, Refusal):
            _record_refusal(session, asked, answer, reply.envelope)
            return None
        if intake is not None:
            check_ownership(answer, own)
            intake.take(answer)
    except AdmissionError as error:
        log.warning("%s: %s", asked.site.site_id, error.message)
        runs.record_answer(
            asked.occasion,
            AnswerState.REJECTED,
            at=time.time(),
            reason=error.message,
            envelope=reply.envelope,
        )
        return None
    runs.record_answer(
        asked.occasion,
        AnswerState.ADMITTED,
        at=time.time(),
        envelope=reply.envelope,
        contribution=answer,
    )
    return answer


def _failure(reply: Reply) -> str:
    if reply.failure == VersionError.__name__:
        return OTHER_VERSION
    return f"the site's node failed: {reply.failure}" if reply.failure else "the site's node failed"


def _record_refusal(session: Session, asked: _Asked, refusal: Refusal, envelope: bytes) -> None:
    """A pause in the middle of a round loses the site to it; anything else is the site's no."""
    paused = refusal.reason == PausedError.__name__
    reason = {PausedError.__name__: PAUSED, BundleError.__name__: OTHER_VERSION}.get(
        refusal.reason, refusal.reason
    )
    rules = f": {', '.join(refusal.rules)}" if refusal.rules else ""
    session.coordinator.runs.record_answer(
        asked.occasion,
        AnswerState.LOST if paused else AnswerState.REFUSED,
        at=time.time(),
        reason=f"{reason}{rules}",
        envelope=envelope,
    )
    if refusal.not_before is not None:
        session.resting[asked.site.site_id] = min(refusal.not_before, time.time() + LONGEST_REST_S)


def _gone(session: Session) -> dict[str, str]:
    """Sites that have said that they are not to be waited for, each with its reason."""
    consents = session.coordinator.consents
    refused = consents.sites_in(ConsentState.REFUSED, session.run.run_id)
    return dict.fromkeys(refused, WITHDRAWN) | dict.fromkeys(consents.paused(), PAUSED)


def signing_key(session: Session, site_id: str, envelope: bytes, *, asked_at: float) -> VerifyKey:
    """The key that something signed names, if the site may have signed with it; else its current one.

    A site may exchange its key while an attempt is open; the one before is good for what it was asked before.
    """
    keys = session.coordinator.memberships.signing_keys(site_id, announced_at=asked_at)
    try:
        key_id = Envelope.from_bytes(envelope).key_id
    except TamperedError:
        return keys[0]
    return next((key for key in keys if key.key_id == key_id), keys[0])


def _follow_presence(session: Session, pending: dict[str, _Asked]) -> dict[str, _Asked]:
    """Give up on sites that went away; ask those again that came back, or moved, and so have forgotten."""
    online, gone = session.channel.online(), _gone(session)
    require_going_on(session)
    active = {site.site_id: site for site in session.coordinator.federation.active()}
    still_pending: dict[str, _Asked] = {}
    for pending_id, asked in pending.items():
        current = active.get(asked.site.site_id)
        if (said := gone.get(asked.site.site_id)) is not None:
            session.coordinator.runs.record_answer(
                asked.occasion, AnswerState.LOST, at=time.time(), reason=said
            )
        elif current is None or current.node_id is None or current.node_id not in online:
            reason = REVOKED if current is None else "the site went offline"
            session.coordinator.runs.record_answer(
                asked.occasion, AnswerState.LOST, at=time.time(), reason=reason
            )
        elif current.node_id != asked.site.node_id or online[current.node_id] > asked.asked_at:
            still_pending |= _ask_again(session, asked, current)
        else:
            still_pending[pending_id] = asked
    return still_pending


def _moved(session: Session, asked: _Asked) -> Site | None:
    """The site as it is now, if it has another node than the one that was asked: that one was ended."""
    for site in session.coordinator.federation.active():
        if site.site_id == asked.site.site_id and site.node_id not in {None, asked.site.node_id}:
            return site
    return None


def _ask_again(session: Session, asked: _Asked, current: Site) -> dict[str, _Asked]:
    return _send(session, [replace(asked, site=current, asked_at=time.time())])
