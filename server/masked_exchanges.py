"""An attempt under secure aggregation: five exchanges, in which a site that leaves is not missed.

Keys, shares, what is masked, signatures under whose it is, and what unmasks the sum. In a round updates are
masked, in the evaluation of the final weights metrics, if a plan lets these out in aggregate only. What a
site signs holds for the round, or the evaluation: were a second sum of it read, over other sites, the two
would differ by what single ones sent. So sites sign no other survivors in it, and once some have been named
to them, only these are asked in the attempts that follow.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from server.exchange import Intake, exchange, open_round, signing_key
from server.lifecycle import RoundState
from server.masking import MaskedRound
from server.session import Session
from server.store import Checkpoint, Round, Site
from shared.errors import AdmissionError, AggregationError, PlanError, TrustError
from shared.masking.records import (
    KeysTold,
    MaskingAsked,
    SharesRevealed,
    SharesTold,
    SurvivorsTold,
)
from shared.records import Contribution, Occasion, Phase, Terms, masked_phases

log = logging.getLogger(__name__)

MASKING_PATIENCE_S = 60.0
"""How long sites are waited for where they have nothing to compute."""

Told = TypeVar("Told", KeysTold, SharesTold, SurvivorsTold, SharesRevealed)


class UnderMasks(Intake, Protocol):
    """The `Intake` of what goes under masks."""

    def mask(self, attempt: str) -> MaskedRound:
        """From now on what sites send in an attempt is added as it comes. Raises AggregationError."""

    def unmask(self) -> None:
        """Take the masks off the sum. Raises AggregationError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Telling(Generic[Told]):
    """The `Intake` of an exchange about masks alone."""

    masked: MaskedRound
    phase: Phase
    kind: type[Told]
    use: Callable[[str, Told], None]

    def terms(self, _site_id: str) -> Terms | None:
        return None

    def masking(self, site_id: str) -> MaskingAsked | None:
        return self.masked.asked(self.phase, site_id)

    def take(self, contribution: Contribution) -> None:
        told = contribution.masking
        if not isinstance(told, self.kind):
            raise AdmissionError(
                "A contribution was rejected. It tells something else of masks than was asked.",
                "Ask the site for its log of this round.",
            )
        self.use(contribution.occasion.site_id, told)


def exchange_masked(
    session: Session,
    cohort: list[Site],
    base: Checkpoint,
    masking: UnderMasks,
    *,
    number: int,
    phase: Phase = Phase.TRAIN,
) -> Round | None:
    """One attempt; None if it comes to nothing.

    Parameters
    ----------
    phase
        In which something goes under masks.

    Returns
    -------
    The exchange of this phase, which is open still, when the sum of what was sent in it lies bare.
    """
    runs, phases = session.coordinator.runs, masked_phases(phase)
    named = named_survivors(session, number)
    attempt = max(runs.next_attempt(session.run.run_id, number, each) for each in phases)
    left = {site.site_id: site for site in cohort}
    masked, sending = masking.mask(_attempt_sha256(session, base, number, attempt)), None
    intakes = _intakes(session, masked, masking, phase)
    for each in phases:
        is_sending = each is phase
        asked = [site for site in left.values() if not is_sending or named is None or site.site_id in named]
        patience_s = math.inf if is_sending else MASKING_PATIENCE_S
        opened = open_round(
            session, asked, base, number=number, phase=each, attempt=attempt, at_most_s=patience_s
        )
        sending = opened if is_sending else sending
        given = exchange(session, opened, asked, intakes[each], needed=masked.least(each))
        left = {one.occasion.site_id: left[one.occasion.site_id] for one in given}
        is_void = not _close(masked, each)
        if is_sending and len(given) < session.plan.rounds.quorum:
            is_void = True
        if is_sending and named is not None and masked.survivors != named:
            log.warning("not all are here whose sum was to be read: round %d is tried again", number)
            is_void = True
        if not is_sending:
            state = RoundState.VOID if is_void else RoundState.AGGREGATED
            runs.close_round(opened, None, state=state, at=time.time())
        if is_void:
            _give_up(session, sending)
            return None
    try:
        masking.unmask()
    except AggregationError as error:
        log.warning("%s", error.message)
        _give_up(session, sending)
        return None
    return sending


def named_survivors(session: Session, number: int) -> frozenset[str] | None:
    """Whose sum sites were asked to sign in this round, if they were; some may have signed."""
    answers = session.coordinator.runs.answers(session.run.run_id, Phase.SURVIVORS)
    return frozenset(each.site_id for each in answers if each.number == number) or None


def _intakes(session: Session, masked: MaskedRound, sending: UnderMasks, phase: Phase) -> dict[Phase, Intake]:
    began = time.time()

    def take_keys(site_id: str, told: KeysTold) -> None:
        key = signing_key(session, site_id, told.keys.encode(), asked_at=began)
        masked.take_keys(site_id, told, key)

    def telling(about: Phase, kind: type[Told], use: Callable[[str, Told], None]) -> _Telling[Told]:
        return _Telling(masked=masked, phase=about, kind=kind, use=use)

    return {
        Phase.KEYS: telling(Phase.KEYS, KeysTold, take_keys),
        Phase.SHARES: telling(Phase.SHARES, SharesTold, masked.take_shares),
        phase: sending,
        Phase.SURVIVORS: telling(Phase.SURVIVORS, SurvivorsTold, masked.take_signed),
        Phase.UNMASK: telling(Phase.UNMASK, SharesRevealed, masked.take_revealed),
    }


def _close(masked: MaskedRound, phase: Phase) -> bool:
    """Whether the attempt goes on after a phase."""
    try:
        masked.close(phase)
    except (AggregationError, PlanError, TrustError) as error:
        log.warning("%s", error.message)
        return False
    return True


def _give_up(session: Session, sending: Round | None) -> None:
    if sending is not None:
        session.coordinator.runs.close_round(sending, None, state=RoundState.VOID, at=time.time())


def _attempt_sha256(session: Session, base: Checkpoint, number: int, attempt: int) -> str:
    return Occasion(
        run_id=session.run.run_id,
        plan_sha256=session.run.plan_sha256,
        round_number=number,
        attempt=attempt,
        phase=Phase.KEYS,
        site_id="any",
        base_digest=base.weights.digest,
    ).attempt_sha256
