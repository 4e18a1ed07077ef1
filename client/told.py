"""What an announcement tells beside what it asks: both are written down before anything else is done."""

from __future__ import annotations

import logging
import time

from client.enrolment import Membership
from client.store.audit import AuditLog
from shared.audit.chain import AuditLine
from shared.audit.event import Event
from shared.audit.events import ContributionRejected
from shared.records import Announcement, Phase
from shared.trust.envelope import Envelope

log = logging.getLogger(__name__)

COORDINATOR = "coordinator"


def write_down(announcement: Announcement, audit: AuditLog, membership: Membership) -> None:
    """Keep where the coordinator's audit log stands, and why a contribution of this site was not let in.

    The coordinator cannot rewrite its history unseen; what becomes of one that did is for a person.

    Raises
    ------
    TrustError
        The coordinator has not signed the checkpoint of its own log.
    """
    found = audit.keep_checkpoint(
        COORDINATOR,
        Envelope.from_bytes(announcement.checkpoint.encode()),
        key=membership.anchors.signing_key,
        actor=membership.site_id,
        at=time.time(),
    )
    if found is not None:
        log.error("the coordinator has signed two histories: %s", found.value)
    _write_down_rejection(announcement, audit)


def _write_down_rejection(announcement: Announcement, audit: AuditLog) -> None:
    """Once, however often it is told."""
    rejected, run_id = announcement.rejected, announcement.occasion.run_id
    if rejected is None:
        return
    event = ContributionRejected(
        subject=run_id,
        number=rejected.round_number,
        attempt=rejected.attempt,
        phase=Phase.TRAIN,
        reason=rejected.reason,
    )

    def if_new(last: AuditLine | None) -> Event | None:
        if last is not None and last.details == event.details():
            return None
        log.error("the contribution to round %d was rejected: %s", rejected.round_number, rejected.reason)
        return event

    audit.append_after_last(ContributionRejected, if_new, subject=run_id, actor=COORDINATOR, at=time.time())
