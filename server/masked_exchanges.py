"""An attempt at a round under secure aggregation: five exchanges, in which a site that leaves is not missed.

Keys, shares, masked updates, signatures under whose updates they are, and what unmasks their sum. What a
site signs holds for the round: were a second sum of it read, over other sites, the two would differ by
single updates. So sites sign no other survivors in a round, and once some have been named to them, only
these are asked for updates in the attempts that follow.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.aggregation import Aggregation
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
from shared.records import MASKED_ROUND_PHASES, Contribution, Occasion, Phase, Terms

log = logging.getLogger(__name__)

MASKING_PATIENCE_S = 60.0
"""How long sites are waited for where they have nothing to compute."""

Told = TypeVar("Told", KeysTold, SharesTold, SurvivorsTold, SharesRevealed)


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
    session: Session, cohort: list[Site], base: Checkpoint, aggregation: Aggregation, *, number: int
) -> Round | None:
    """One attempt; None if it comes to nothing.

    Returns
    -------
    The training exchange, which is open still, when the sum of its updates lies bare in the aggregation.
    """
    runs = session.coordinator.runs
    named = named_survivors(session, number)
    attempt = max(runs.next_attempt(session.run.run_id, number, phase) for phase in MASKED_ROUND_PHASES)
    left = {site.site_id: site for site in cohort}
    masked, training = aggregation.mask(_attempt_sha256(session, base, number, attempt)), None
    intakes = _intakes(session, masked, aggregation)
    for phase in MASKED_ROUND_PHASES:
        is_training = phase is Phase.TRAIN
        asked = [site for site in left.values() if not is_training or named is None or site.site_id in named]
        patience_s = math.inf if is_training else MASKING_PATIENCE_S
        opened = open_round(
            session, asked, base, number=number, phase=phase, attempt=attempt, at_most_s=patience_s
        )
        training = opened if is_training else training
        given = exchange(session, opened, asked, intakes[phase], needed=masked.least(phase))
        left = {each.occasion.site_id: left[each.occasion.site_id] for each in given}
        is_void = not _close(masked, phase)
        if is_training and len(given) < session.plan.rounds.quorum:
            is_void = True
        if is_training and named is not None and masked.survivors != named:
            log.warning("not all are here whose updates were to be added up: round %d is tried again", number)
            is_void = True
        if not is_training:
            state = RoundState.VOID if is_void else RoundState.AGGREGATED
            runs.close_round(opened, None, state=state, at=time.time())
        if is_void:
            _give_up(session, training)
            return None
    try:
        aggregation.unmask()
    except AggregationError as error:
        log.warning("%s", error.message)
        _give_up(session, training)
        return None
    return training


def named_survivors(session: Session, number: int) -> frozenset[str] | None:
    """Whose updates sites were asked to sign in this round, if they were; some may have signed."""
    answers = session.coordinator.runs.answers(session.run.run_id, Phase.SURVIVORS)
    return frozenset(each.site_id for each in answers if each.number == number) or None


def _intakes(session: Session, masked: MaskedRound, aggregation: Aggregation) -> dict[Phase, Intake]:
    began = time.time()

    def take_keys(site_id: str, told: KeysTold) -> None:
        key = signing_key(session, site_id, told.keys.encode(), asked_at=began)
        masked.take_keys(site_id, told, key)

    def telling(phase: Phase, kind: type[Told], use: Callable[[str, Told], None]) -> _Telling[Told]:
        return _Telling(masked=masked, phase=phase, kind=kind, use=use)

    return {
        Phase.KEYS: telling(Phase.KEYS, KeysTold, take_keys),
        Phase.SHARES: telling(Phase.SHARES, SharesTold, masked.take_shares),
        Phase.TRAIN: aggregation,
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


def _give_up(session: Session, training: Round | None) -> None:
    if training is not None:
        session.coordinator.runs.close_round(training, None, state=RoundState.VOID, at=time.time())


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
