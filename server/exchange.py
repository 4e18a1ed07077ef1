"""One exchange: a cohort is asked for one phase, and its answers are taken as they arrive."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from server.admission import check_ownership, read_answer, read_update
from server.channel import Reply, SiteChannel
from server.coordinator import Coordinator
from server.lifecycle import AnswerState, RoundState
from server.store import Checkpoint, Round, Run, Site
from shared.errors import AdmissionError, QuorumError, TransferError
from shared.model import Weights
from shared.plan import Plan
from shared.records import ANNOUNCEMENT_TYPE, Announcement, Contribution, Occasion, Phase, Refusal
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import sign
from shared.trust.keys import VerifyKey

log = logging.getLogger(__name__)

POLL_S = 0.1
PRESENCE_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run while it goes on."""

    run: Run
    plan: Plan
    channel: SiteChannel
    coordinator: Coordinator


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A site that was asked, and what it was asked for."""

    site: Site
    occasion: Occasion
    envelope: bytes
    asked_at: float


def present(session: Session) -> list[Site]:
    """The sites that are online now, by site id."""
    online = session.channel.online()
    return [site for site in session.coordinator.federation.active() if site.node_id in online]


def gather(session: Session, *, patience_s: float) -> list[Site]:
    """The sites that are online: all of them, or after `patience_s` at least a quorum.

    Raises
    ------
    QuorumError
        Fewer than the quorum came online within the plan's timeout.
    """
    began = time.monotonic()
    quorum = session.plan.rounds.quorum
    while True:
        cohort = present(session)
        num_active = len(session.coordinator.federation.active())
        waited_s = time.monotonic() - began
        if len(cohort) >= quorum and (len(cohort) == num_active or waited_s >= patience_s):
            return cohort
        if waited_s > session.plan.rounds.timeout_s:
            raise QuorumError(
                f"Only {len(cohort)} of {num_active} sites are online; the plan needs {quorum}.",
                "Ask the sites to run `mammofed-site start`, then start the run again.",
            )
        time.sleep(PRESENCE_POLL_S)


def open_round(session: Session, cohort: list[Site], base: Checkpoint, *, number: int, phase: Phase) -> Round:
    """Record an attempt at a phase before any site is asked."""
    now = time.time()
    opened = Round(
        run_id=session.run.run_id,
        number=number,
        attempt=session.coordinator.runs.next_attempt(session.run.run_id, number, phase),
        phase=phase,
        state=RoundState.OPEN,
        base=base.weights,
        aggregate=None,
        opened_at=now,
        deadline=now + session.plan.rounds.timeout_s,
        closed_at=None,
    )
    session.coordinator.runs.open_round(opened, [site.site_id for site in cohort])
    return opened


def exchange(session: Session, opened: Round, cohort: list[Site], base: Weights) -> list[Contribution]:
    """Ask the cohort and collect what is admitted, until all have answered or the deadline is over."""
    pending = {}
    for site in cohort:
        asked = _announce(session, opened, site)
        if message_id := _send(session, asked):
            pending[message_id] = asked
    contributions = []
    looked_at = time.time()
    while pending and time.time() < opened.deadline:
        for reply in session.channel.receive(pending.keys()):
            contribution = _take(session, pending.pop(reply.message_id), reply, base)
            if contribution is not None:
                contributions.append(contribution)
        if time.time() - looked_at > PRESENCE_POLL_S:
            looked_at = time.time()
            pending = _follow_presence(session, pending)
        time.sleep(POLL_S)
    return contributions


def _announce(session: Session, opened: Round, site: Site) -> _Asked:
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
        occasion=occasion, plan=BlobRef.of(plan_toml), base=opened.base, deadline=opened.deadline
    )
    envelope = sign(ANNOUNCEMENT_TYPE, announcement.to_bytes(), session.coordinator.signing_key).to_bytes()
    return _Asked(site=site, occasion=occasion, envelope=envelope, asked_at=time.time())


def _send(session: Session, asked: _Asked) -> str | None:
    """Send an announcement; a site that it cannot be sent to is lost to this attempt."""
    assert asked.site.node_id is not None
    remaining_s = session.plan.rounds.timeout_s
    try:
        return session.channel.send(asked.site.node_id, asked.envelope, expires_in_s=remaining_s)
    except TransferError as error:
        session.coordinator.runs.record_answer(
            asked.occasion, AnswerState.LOST, at=time.time(), reason=error.message
        )
        return None


def _take(session: Session, asked: _Asked, reply: Reply, base: Weights) -> Contribution | None:
    """Admit one reply or record why not."""
    runs = session.coordinator.runs
    if reply.envelope is None:
        runs.record_answer(asked.occasion, AnswerState.LOST, at=time.time(), reason="the site's node failed")
        return None
    try:
        answer = read_answer(reply.envelope, asked.occasion, VerifyKey(raw=asked.site.signing_public_key))
        if isinstance(answer, Refusal):
            runs.record_answer(
                asked.occasion,
                AnswerState.REFUSED,
                at=time.time(),
                reason=answer.reason,
                envelope=reply.envelope,
            )
            return None
        if answer.update is not None:
            read_update(answer, base, session.coordinator.blobs)
            check_ownership(answer, session.coordinator.kept_digests())
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


def _follow_presence(session: Session, pending: dict[str, _Asked]) -> dict[str, _Asked]:
    """Give up on sites that went away; ask those again that came back and so have forgotten."""
    online = session.channel.online()
    node_ids = {site.site_id: site.node_id for site in session.coordinator.federation.active()}
    still_pending = {}
    for pending_id, asked in pending.items():
        node_id = node_ids.get(asked.site.site_id)
        if node_id is None or node_id not in online:
            session.coordinator.runs.record_answer(
                asked.occasion, AnswerState.LOST, at=time.time(), reason="the site went offline"
            )
        elif online[node_id] > asked.asked_at:
            again = replace(asked, site=replace(asked.site, node_id=node_id), asked_at=time.time())
            if message_id := _send(session, again):
                still_pending[message_id] = again
        else:
            still_pending[pending_id] = asked
    return still_pending
