"""How much a run may ask of this site: what was approved, and how often what has left may leave again.

A round has one set of base weights. Whoever could have it computed from weights of his choosing, again and
again, would ask as much about the examples as he liked under one approval.
"""

from __future__ import annotations

from collections.abc import Sequence

from client.store.ledger import Release
from client.store.plans import OfferedPlan
from shared.errors import NotApprovedError
from shared.masking.records import SharesAsked
from shared.plan import Plan
from shared.records import (
    MASKING_PHASES,
    Announcement,
    Occasion,
    Phase,
    is_under_masks,
    metrics_asked,
)

MAX_UPDATES_PER_ROUND = 3
"""On the average of a run: a round is tried three times, and more only if the coordinator's process dies."""

MAX_RELEASES_PER_ATTEMPT = 5
"""An answer that the coordinator did not get is asked for again; its update is the same while the data is."""

MAX_ANSWERS = 5
"""To the count, and of the final weights: one is needed, and another when the coordinator's process died."""


def check_extent(announcement: Announcement, offered: OfferedPlan, releases: Sequence[Release]) -> None:
    """Return only if an announcement asks for no more than the approved plan says.

    Parameters
    ----------
    releases
        Every update, count and evaluation that has left for this run.

    Raises
    ------
    NotApprovedError
        It asks for another round, for a metric that is not in the plan, for other weights than before or than
        the plan names, to go on from another run, or too often.
    """
    occasion, plan = announcement.occasion, offered.plan
    last = plan.evaluation_number if plan.tells_in_aggregate else plan.rounds.count
    masked = last if plan.is_masked else 0
    rounds = {
        Phase.COUNT: range(1),
        Phase.TRAIN: range(1, plan.rounds.count + 1),
        **dict.fromkeys(MASKING_PHASES, range(1, masked + 1)),
        Phase.EVALUATE: range(plan.evaluation_number, plan.evaluation_number + 1),
    }
    if occasion.round_number not in rounds[occasion.phase]:
        raise NotApprovedError(
            "A round was asked for that the approved plan does not have.",
            "Tell the coordinator: an extended plan must be offered as a run of its own.",
        )
    asked = metrics_asked(occasion.phase, plan.metrics)
    if not set(announcement.metrics) <= set(asked):
        raise NotApprovedError(
            "A metric was asked for that the approved plan does not name for this phase.",
            "Tell the coordinator.",
        )
    if plan.tells_in_aggregate and announcement.metrics != asked:
        raise NotApprovedError(
            "A part of the metrics was asked for that all sites add up: what one site alone tells is no sum.",
            "Tell the coordinator.",
        )
    has_masks = isinstance(announcement.masking, SharesAsked)
    if occasion.phase not in MASKING_PHASES and has_masks is not is_under_masks(occasion.phase, plan):
        raise NotApprovedError(
            "Something was asked for without the masks of the approved plan, or with masks that it lacks.",
            "Tell the coordinator.",
        )
    _check_start(announcement, plan)
    same_phase = [each for each in releases if each.phase is occasion.phase]
    _check_base(occasion, same_phase)
    if occasion.phase in {Phase.TRAIN, *MASKING_PHASES}:
        _check_updates(occasion, same_phase, most=MAX_UPDATES_PER_ROUND * last)
    elif len(same_phase) >= MAX_ANSWERS:
        raise _too_often("Counts or evaluations were asked for more often than the approved plan can need.")


def _check_start(announcement: Announcement, plan: Plan) -> None:
    occasion, counted = announcement.occasion, announcement.counted
    is_first = occasion.phase is Phase.TRAIN and occasion.round_number == 1
    if is_first and plan.initial_weights not in {None, occasion.base_digest}:
        raise NotApprovedError(
            "The first round was asked for from other weights than the approved plan names.",
            "Tell the coordinator: other weights need a run of their own.",
        )
    if counted is not None and counted.run_id not in plan.lineage(occasion.run_id):
        raise NotApprovedError(
            "A round was asked for that goes on from a run which the approved plan does not name.",
            "Tell the coordinator: an extended plan must be offered as a run of its own.",
        )


def _check_base(occasion: Occasion, releases: Sequence[Release]) -> None:
    if any(
        each.round_number == occasion.round_number and each.base_sha256 != occasion.base_digest
        for each in releases
    ):
        raise NotApprovedError(
            "A round was asked for from other weights than before.",
            "Tell the coordinator: a round has one set of weights, however often it is tried.",
        )


def _check_updates(occasion: Occasion, releases: Sequence[Release], *, most: int) -> None:
    if any(each.round_number > occasion.round_number for each in releases):
        raise NotApprovedError(
            "A round was asked for that comes before one that is done.", "Tell the coordinator."
        )
    attempts = [(each.round_number, each.attempt) for each in releases]
    this = (occasion.round_number, occasion.attempt)
    if attempts.count(this) >= MAX_RELEASES_PER_ATTEMPT or (
        this not in attempts and len(set(attempts)) >= most
    ):
        raise _too_often("More updates were asked for than the approved plan can need.")


def _too_often(message: str) -> NotApprovedError:
    return NotApprovedError(message, "Ask the coordinator why rounds fail; a new run needs a new approval.")
