"""The site's part in a round. Start reading at `take_part`.

An announcement is followed only if

1. the coordinator's key of now signed it;
2. it is meant for this site, and its time is not over;
3. it asks for nothing but what was approved here, now (`client.guard`); until then nothing is fetched;
4. plan and weights are the very bytes that it names.

What was computed for it is on record before any of it leaves. Asked again, a site sends that update anew, if
points 1 to 3 hold still; in a later attempt at the same round as well, if the plan uses late updates.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace

from client.catalog import Part
from client.egress import require_enough
from client.enrolment import Membership
from client.evaluation.appearance import look_at
from client.evaluation.evaluator import NOTHING, PART_OF_PHASE, Evaluated
from client.guard import Guard
from client.masked_answers import masked_evaluation, masked_update
from client.own_training import epoch_trainer, trainer_of
from client.round_records import RoundRecord
from client.told import write_down
from client.training.local_round import (
    control_state,
    own_weights,
    require_drawn,
    residual_state,
    rounding_of,
    train_round,
)
from client.workplace import Workplace
from shared.chance import KEY_BITS
from shared.errors import (
    MammofedError,
    StoppedError,
    TransferError,
    TrustError,
)
from shared.fixed_point.update_file import read_update
from shared.masking.records import MaskingTold
from shared.model import Weights
from shared.plan import Plan
from shared.records import (
    ANNOUNCEMENT_TYPE,
    MASKING_PHASES,
    Announcement,
    Contribution,
    Phase,
    is_under_masks,
)
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope, verify

log = logging.getLogger(__name__)


def take_part(envelope: bytes, workplace: Workplace) -> bytes:
    """Answer an announcement with the signed envelope of a contribution or a refusal.

    Raises
    ------
    TrustError
        The announcement is not the coordinator's, or not for this site: it is not answered.
    """
    announcement = _read(envelope, workplace.membership)
    with workplace.work.working(announcement.occasion):
        return _take_part(announcement, workplace)


def _take_part(announcement: Announcement, workplace: Workplace) -> bytes:
    occasion = announcement.occasion
    began = time.monotonic()
    try:
        write_down(announcement, workplace.audit, workplace.membership)
        workplace.guard.check(announcement, workplace.membership)
        downloads = workplace.downloads(announcement)
        plan = downloads.fetch_plan()
        if occasion.phase in MASKING_PHASES:
            return _tell_of_masks(announcement, plan, workplace, began)
        record = _on_record(announcement, plan, workplace)
        if record is not None and workplace.blobs.has(record.update.digest):
            return _send(record, announcement, plan, workplace)
        if is_under_masks(occasion.phase, plan):
            workplace.masked_part.require_begun(announcement)
        downloads.forget_other_rounds()
        if occasion.phase is Phase.COUNT:
            return _count(announcement, plan, workplace, began)
        base = downloads.fetch_weights(plan)
        if occasion.phase is Phase.TRAIN and occasion.round_number == 1 and plan.initial_weights is None:
            require_drawn(base, plan)
        state = workplace.records.state_after(announcement.counted)
        if occasion.phase is Phase.TRAIN:
            record = _train_round(announcement, base, plan, state, workplace, began)
            workplace.records.keep(record)
            return _send(record, announcement, plan, workplace)
        evaluated = _evaluate_final(announcement, base, plan, state, workplace)
        masked = masked_evaluation(evaluated, announcement, plan, workplace)
        return _answer(
            announcement,
            workplace,
            began,
            num_examples=None,
            evaluated=evaluated,
            masked_metrics=masked,
        )
    except MammofedError as failure:
        error = _cause(failure, announcement, workplace.guard)
        log.error("no part in round %d: %s %s", occasion.round_number, error.message, error.hint)
        return workplace.egress.release_refusal(occasion, error)


def refuse(envelope: bytes, workplace: Workplace, error: MammofedError) -> bytes:
    """Answer an announcement with a signed refusal, for a reason that is not in it.

    Raises
    ------
    TrustError
        As `take_part`.
    """
    announcement = _read(envelope, workplace.membership)
    log.error("no part in round %d: %s %s", announcement.occasion.round_number, error.message, error.hint)
    return workplace.egress.release_refusal(announcement.occasion, error)


def _cause(failure: MammofedError, announcement: Announcement, guard: Guard) -> MammofedError:
    """What stopped is told by why it was stopped."""
    if isinstance(failure, StoppedError | TransferError):
        try:
            guard.check_going_on(announcement)
        except MammofedError as cause:
            return cause
    return failure


def _on_record(announcement: Announcement, plan: Plan, workplace: Workplace) -> RoundRecord | None:
    """What was computed before for this occasion, or may stand for it."""
    if announcement.occasion.phase is not Phase.TRAIN:
        return None
    record = workplace.records.find(announcement)
    # Under secure aggregation a site lets one update of a round be added up, in whichever attempt.
    if record is None and (plan.rounds.late_updates == "use" or plan.is_masked):
        record = workplace.records.find_earlier(announcement, data=workplace.fingerprint(plan, Part.TRAIN))
    return record


def _count(announcement: Announcement, plan: Plan, workplace: Workplace, began: float) -> bytes:
    """Tell how many examples there are to train on, as the policy lets it be told: the site's weight."""
    num_examples = len(workplace.examples(plan, Part.TRAIN))
    return _answer(announcement, workplace, began, num_examples=num_examples, evaluated=NOTHING)


def _tell_of_masks(announcement: Announcement, plan: Plan, workplace: Workplace, began: float) -> bytes:
    """Answer in one of the phases before and after an update is sent under secure aggregation."""
    told = workplace.masked_part.tell(announcement, plan, workplace.egress.signing_key)
    return _answer(announcement, workplace, began, num_examples=None, evaluated=NOTHING, masking=told)


def _answer(
    announcement: Announcement,
    workplace: Workplace,
    began: float,
    *,
    num_examples: int | None,
    evaluated: Evaluated,
    masking: MaskingTold | None = None,
    masked_metrics: str | None = None,
) -> bytes:
    """An answer without an update."""
    workplace.guard.check_release(announcement, workplace.membership)
    told = workplace.egress.compose_contribution(
        announcement.occasion,
        num_examples=num_examples,
        evaluated=evaluated,
        asked=announcement.metrics,
        rules=workplace.guard.policy().egress,
        duration_s=time.monotonic() - began,
        masking=masking,
        masked_metrics=masked_metrics,
    )
    return workplace.egress.release_contribution(told)


def _train_round(
    announcement: Announcement, base: Weights, plan: Plan, state: Weights, workplace: Workplace, began: float
) -> RoundRecord:
    """Train and round the update: all that a site has to do for an answer, and the state that follows."""
    occasion, data = announcement.occasion, workplace.fingerprint(plan, Part.TRAIN)
    rounding = rounding_of(announcement.terms, plan, occasion, state)
    assert announcement.terms is not None
    common = workplace.downloads(announcement).fetch_control(base)
    started = time.monotonic()
    evaluation = _evaluate(own_weights(base, plan, state), plan, announcement, workplace).shared
    trained = train_round(base, plan, state, common, trainer_of(plan, announcement, workplace))
    computed_s = time.monotonic() - started
    log.info("%s round %d computed in %.3f s", occasion.run_id, occasion.round_number, computed_s)
    update = workplace.egress.round_update(
        trained.update,
        rounding,
        training=trained.result,
        compress=plan.aggregation.compression != "none",
    )
    if rounding.num_clipped:
        log.warning("%d values of the update lay beyond the round's grid", rounding.num_clipped)
    if rounding.factor < 1:
        log.warning("the update was shortened to %.3g of its length: the plan bounds it", rounding.factor)
    with workplace.blobs.path(update.digest).open("rb") as file:
        control = control_state(state, rounding, read_update(file, rounding.grid))
    return RoundRecord(
        occasion=occasion,
        terms=announcement.terms,
        counted=announcement.counted,
        data=data,
        update=update,
        shapes=rounding.grid.shapes,
        training=trained.result,
        num_clipped=rounding.num_clipped,
        evaluation=evaluation,
        duration_s=time.monotonic() - began,
        noise_key=secrets.token_hex(KEY_BITS // 8) if plan.privacy.site_noise else None,
        state={**trained.state, **residual_state(rounding), **control},
    )


def _told(
    record: RoundRecord,
    update: BlobRef,
    masked_metrics: str | None,
    announcement: Announcement,
    plan: Plan,
    workplace: Workplace,
) -> Contribution:
    """What may be told of a round, as it is asked for and as the policy stands now."""
    return workplace.egress.compose_contribution(
        record.occasion,
        num_examples=record.training.num_examples,
        training=record.training,
        update=update,
        num_clipped=record.num_clipped,
        evaluated=Evaluated(shared=record.evaluation),
        asked=announcement.metrics,
        rules=workplace.guard.policy().egress,
        duration_s=record.duration_s,
        epsilon=workplace.budget.told(plan, record.occasion.run_id),
        masked_metrics=masked_metrics,
    )


def _send(record: RoundRecord, announcement: Announcement, plan: Plan, workplace: Workplace) -> bytes:
    """Send an update that is on record, masked if the plan says so, and answer with what goes with it."""
    workplace.guard.check(announcement, workplace.membership)
    require_enough(record.training.num_examples, workplace.guard.policy())
    update, metrics = record.update, None
    if plan.is_masked:
        update, metrics = masked_update(record, announcement, plan, workplace)
    workplace.egress.release_update(record.occasion, update, record.shapes, is_masked=plan.is_masked)
    workplace.transfer.send(update, workplace.blobs, should_stop=workplace.watch(announcement))
    workplace.guard.check_release(announcement, workplace.membership)
    return workplace.egress.release_contribution(
        _told(record, update, metrics, announcement, plan, workplace)
    )


def _read(envelope: bytes, membership: Membership) -> Announcement:
    # 1.
    payload = verify(Envelope.from_bytes(envelope), ANNOUNCEMENT_TYPE, membership.anchors.signing_key)
    announcement = Announcement.from_bytes(payload)
    # 2.
    if announcement.occasion.site_id != membership.site_id:
        raise TrustError("An announcement is meant for another site.", "Tell the coordinator.")
    if announcement.deadline < time.time():
        raise TrustError("An announcement's time is over.", "Check this computer's clock.")
    return announcement


def _evaluate_final(
    announcement: Announcement, base: Weights, plan: Plan, state: Weights, workplace: Workplace
) -> Evaluated:
    """Evaluate the final weights, with the personal model and the looks of the training images if asked."""
    occasion, own = announcement.occasion, own_weights(base, plan, state)
    wanted = plan.personalisation.layers != "none"
    personal: Weights | None = None
    if wanted or plan.aggregation.strategy == "fedbn":
        material = workplace.material(plan, occasion.run_id)
        train_epoch = epoch_trainer(material.training, plan, announcement, workplace)
        personal = workplace.personaliser.own_weights(base, own, plan, occasion, material, train_epoch)
    evaluated = _evaluate(own, plan, announcement, workplace, personal=personal if wanted else None)
    if "appearance" not in announcement.metrics:
        return evaluated
    appearance = look_at(
        workplace.examples(plan, Part.TRAIN),
        workplace.catalog.load,
        workplace.evaluator.kept,
        smallest=workplace.guard.policy().egress.smallest_count,
        should_stop=workplace.watch(announcement),
    )
    return replace(evaluated, appearance=appearance)


def _evaluate(
    weights: Weights,
    plan: Plan,
    announcement: Announcement,
    workplace: Workplace,
    personal: Weights | None = None,
) -> Evaluated:
    """Evaluate weights on the part that a phase is for; nothing where it is empty."""
    occasion = announcement.occasion
    dataset = workplace.dataset(plan, PART_OF_PHASE[occasion.phase])
    if dataset is None:
        return NOTHING
    return workplace.evaluator.evaluate(
        weights,
        plan,
        occasion,
        dataset,
        smallest=workplace.guard.policy().egress.smallest_count,
        should_stop=workplace.watch(announcement),
        personal=personal,
    )
