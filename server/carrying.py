"""What an attempt at a round has taken in counts in the next one, if it came to nothing itself.

So a contribution that was admitted is not lost when the coordinator is interrupted or too few others answer,
even if its site is gone for good by then. Its site is not asked again: it would send the same bytes.
"""

from __future__ import annotations

import logging

from server.aggregation import Aggregation
from server.lifecycle import ConsentState
from server.session import Session
from server.store import Answer
from shared.errors import AdmissionError
from shared.records import Phase

log = logging.getLogger(__name__)


def waiting_answers(session: Session, number: int) -> list[Answer]:
    """The answers that the last attempt at a training round has admitted and that may count in the next.

    Not those of a site that was revoked or has taken its approval back since; none under a plan that refuses
    late updates, for which an attempt is an attempt, nor under secure aggregation: masks are an attempt's.
    """
    if session.plan.rounds.late_updates == "refuse" or session.plan.is_masked:
        return []
    coordinator, run_id = session.coordinator, session.run.run_id
    approving = coordinator.consents.sites_in(ConsentState.APPROVED, run_id)
    taking_part = approving & {site.site_id for site in coordinator.federation.active()}
    admitted = coordinator.runs.last_admitted(run_id, number, Phase.TRAIN)
    return [each for each in admitted if each.site_id in taking_part]


def carry_over(waiting: list[Answer], aggregation: Aggregation) -> list[Answer]:
    """Take waiting answers into a new attempt's aggregation, but those whose update is not whole here."""
    carried = []
    for each in waiting:
        assert each.contribution is not None
        try:
            aggregation.take(each.contribution)
        except AdmissionError as error:
            log.warning("%s: %s It is asked again.", each.site_id, error.message)
        else:
            carried.append(each)
    return carried
