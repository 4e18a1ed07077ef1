"""The site's part in a round. Start reading at `take_part`.

An announcement is followed only if

1. the coordinator's key of now signed it;
2. it is meant for this site, and its time is not over;
3. it asks for nothing but what was approved here, now (`client.guard`); until then nothing is fetched;
4. plan and weights are the very bytes that it names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from client.catalog import Catalog, Part
from client.egress import Egress, require_enough
from client.enrolment import Membership
from client.guard import Guard
from client.store.audit import AuditLog
from client.training.dataset import FittedDataset
from client.training.device import limit_memory
from client.training.evaluation import Metrics, evaluate
from client.training.schedule import training_seed
from client.training.trainer import Step, TrainingResult, train
from shared.errors import (
    MammofedError,
    NotFoundError,
    NotReadyError,
    StoppedError,
    TamperedError,
    TransferError,
    TrustError,
)
from shared.model import Weights, build_model
from shared.model.weights import from_bytes, load_into, weights_of
from shared.plan import Plan
from shared.records import ANNOUNCEMENT_TYPE, Announcement, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.trust.envelope import Envelope, verify

log = logging.getLogger(__name__)

COORDINATOR = "coordinator"


@dataclass(slots=True, kw_only=True)
class Workplace:
    """What stays warm at a site between messages: its identity, its data at the plan's size, its network."""

    membership: Membership
    catalog: Catalog
    blobs: BlobStore
    transfer: BlobClient
    egress: Egress
    audit: AuditLog
    guard: Guard
    device: torch.device
    _datasets: dict[tuple[str, Part], FittedDataset | None] = field(default_factory=dict)

    def watch(self, announcement: Announcement) -> Callable[[], bool]:
        """Tells whether work on an announcement must stop."""
        return partial(self.guard.must_stop, announcement)

    def dataset(self, plan: Plan, part: Part) -> FittedDataset | None:
        """The examples of a part, fitted to the plan's input; None if there is none."""
        newest_mask, example_ids = self.catalog.newest_mask(), self.catalog.examples(part)
        key = (f"{plan.model.model_dump_json()}{newest_mask}{example_ids}", part)
        if key not in self._datasets:
            self._datasets = {kept: data for kept, data in self._datasets.items() if kept[1] is not part}
            try:
                examples = [self.catalog.load(example_id) for example_id in example_ids]
            except NotFoundError:  # removed since it was listed
                return self.dataset(plan, part)
            self._datasets[key] = FittedDataset(examples, plan.model) if examples else None
        return self._datasets[key]

    def training_dataset(self, plan: Plan, run_id: str) -> FittedDataset | None:
        """The training part, noted as used by a run: whoever is taken out later learns of that run."""
        while True:
            dataset = self.dataset(plan, Part.TRAIN)
            self.catalog.note_use(run_id, Part.TRAIN)
            # Unchanged since: nobody in it was taken out or came in before the note.
            if self.dataset(plan, Part.TRAIN) is dataset:
                return dataset


def take_part(envelope: bytes, workplace: Workplace) -> bytes:
    """Answer an announcement with the signed envelope of a contribution or a refusal.

    Raises
    ------
    TrustError
        The announcement is not the coordinator's, or not for this site: it is not answered.
    """
    announcement = _read(envelope, workplace.membership)
    occasion = announcement.occasion
    began = time.monotonic()
    try:
        _keep_checkpoint(announcement, workplace)
        workplace.guard.check(announcement, workplace.membership)
        _forget_other_rounds(announcement, workplace.blobs)
        plan = _fetch_plan(announcement, workplace)
        base = _fetch_weights(announcement, plan, workplace)
        if occasion.phase is Phase.EVALUATE:
            training, update = None, None
            metrics = _evaluate(base, plan, Part.TEST, workplace)
        else:
            metrics = _evaluate(base, plan, Part.VALIDATION, workplace)
            training, local = _train(base, plan, announcement, workplace)
            workplace.guard.check(announcement, workplace.membership)
            update = workplace.egress.release_update(
                occasion, local, base, training=training, metrics=metrics, policy=workplace.guard.policy()
            )
            workplace.transfer.send(update, workplace.blobs, should_stop=workplace.watch(announcement))
        workplace.guard.check_release(announcement, workplace.membership)
        return workplace.egress.release_contribution(
            occasion,
            training=training,
            update=update,
            metrics=metrics,
            asked=announcement.metrics,
            rules=workplace.guard.policy().egress,
            duration_s=time.monotonic() - began,
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


def _keep_checkpoint(announcement: Announcement, workplace: Workplace) -> None:
    """The coordinator cannot rewrite its history unseen; what becomes of one that did is for a person."""
    membership = workplace.membership
    found = workplace.audit.keep_checkpoint(
        COORDINATOR,
        Envelope.from_bytes(announcement.checkpoint.encode()),
        key=membership.anchors.signing_key,
        actor=membership.site_id,
        at=time.time(),
    )
    if found is not None:
        log.error("the coordinator has signed two histories: %s", found.value)


def _forget_other_rounds(announcement: Announcement, blobs: BlobStore) -> None:
    """What earlier rounds left is of no use any more; what this one needs may be here already."""
    needed = {announcement.plan.digest, announcement.base.digest}
    for digest in blobs.digests():
        if digest not in needed:
            blobs.remove(digest)


def _fetch_plan(announcement: Announcement, workplace: Workplace) -> Plan:
    # 4.
    plan = Plan.from_toml(_fetch(announcement.plan, announcement, workplace))
    if plan.sha256 != announcement.occasion.plan_sha256:
        raise TrustError("The plan is not the one that was announced.", "Tell the coordinator.")
    return plan


def _fetch_weights(announcement: Announcement, plan: Plan, workplace: Workplace) -> Weights:
    # 4.
    if announcement.base.digest != announcement.occasion.base_digest:
        raise TrustError("The weights are not the ones that were announced.", "Tell the coordinator.")
    like = weights_of(build_model(plan.model))
    return from_bytes(_fetch(announcement.base, announcement, workplace), like=like)


def _fetch(blob: BlobRef, announcement: Announcement, workplace: Workplace) -> bytes:
    """A blob's bytes, fetched unless they are here and still what their digest names."""
    workplace.transfer.fetch(blob, workplace.blobs, should_stop=workplace.watch(announcement))
    content = workplace.blobs.path(blob.digest).read_bytes()
    if BlobRef.of(content) != blob:
        workplace.blobs.remove(blob.digest)
        raise TamperedError(
            "A blob on this site's disk is damaged.", "Check the disk; it is fetched again when it is needed."
        )
    return content


def _evaluate(weights: Weights, plan: Plan, part: Part, workplace: Workplace) -> Metrics | None:
    dataset = workplace.dataset(plan, part)
    if dataset is None:
        return None
    model = build_model(plan.model)
    load_into(model, weights)
    return evaluate(model, dataset, plan, workplace.device)


def _train(
    base: Weights, plan: Plan, announcement: Announcement, workplace: Workplace
) -> tuple[TrainingResult, Weights]:
    occasion, policy = announcement.occasion, workplace.guard.policy()
    dataset = workplace.training_dataset(plan, occasion.run_id)
    if dataset is None:
        raise NotReadyError(
            "This site has no example to train on.", "Add mammograms with `mammofed-site data add FOLDER`."
        )
    require_enough(len(dataset), policy)
    model = build_model(plan.model)
    load_into(model, base)
    seed = training_seed(
        plan.seed,
        run_id=occasion.run_id,
        round_number=occasion.round_number,
        attempt=occasion.attempt,
        site_id=occasion.site_id,
    )
    limit_memory(workplace.device, policy.limits.gpu_memory_gib)
    try:
        result = train(
            model,
            dataset,
            plan,
            round_number=occasion.round_number,
            seed=seed,
            device=workplace.device,
            on_step=_log_step(occasion),
            should_stop=workplace.watch(announcement),
        )
    except torch.OutOfMemoryError as error:
        raise NotReadyError(
            "The plan needs more GPU memory than this site has or lets it use.",
            "Ask for a smaller batch, or raise `limits.gpu_memory_gib` in policy.toml.",
        ) from error
    return result, weights_of(model)


def _log_step(occasion: Occasion) -> Callable[[Step], None]:
    def log_step(step: Step) -> None:
        log.info(
            "%s round %d step %d/%d loss %.4f",
            occasion.run_id,
            occasion.round_number,
            step.number,
            step.num_steps,
            step.loss,
        )

    return log_step
