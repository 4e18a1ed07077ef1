"""What a site fetches for a round: the plan, the weights and, where it needs it, the strategy's state.

Where the weights before are here still, those of the round come as what has changed since; what is made of
that must be the very bytes that were announced, else they come whole. What a blob holds was verified when it
arrived or was made; the digest of one that was here before is looked at again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from client.training.local_round import control_like
from shared.errors import NotFoundError, TamperedError, TrustError, WeightsError
from shared.model import Weights, blank_model
from shared.model.sent import EXPONENTS, control_of
from shared.model.weights import load
from shared.model.weights_delta import apply_delta
from shared.plan import Plan
from shared.records import Announcement, Delta
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloads:
    """Brings what one announcement names.

    Methods raise as `BlobClient.fetch` does, and TamperedError for a blob that this site's disk has damaged.

    Attributes
    ----------
    should_stop
        Whether to give up soon.
    """

    announcement: Announcement
    blobs: BlobStore
    transfer: BlobClient
    should_stop: Callable[[], bool]

    def forget_other_rounds(self) -> None:
        """What earlier rounds left is of no use any more; what this one needs may be here already."""
        announcement = self.announcement
        needed = {announcement.plan.digest, announcement.base.digest}
        if announcement.terms is not None and announcement.terms.state is not None:
            needed.add(announcement.terms.state.digest)
        if (delta := self._useful_delta()) is not None:
            needed |= {delta.since, delta.blob.digest}
        for digest in self.blobs.digests():
            if digest not in needed:
                self.blobs.remove(digest)
        self.blobs.discard_unfinished(may_resume=needed.__contains__)

    def fetch(self, blob: BlobRef) -> Path:
        """Where a blob's bytes are."""
        if self.blobs.has(blob.digest):
            self._look_at(blob)
        else:
            self.transfer.fetch(blob, self.blobs, should_stop=self.should_stop)
        return self.blobs.path(blob.digest)

    def fetch_plan(self) -> Plan:
        """The plan; raises TrustError if it is not the one that was announced."""
        plan = Plan.from_toml(self.fetch(self.announcement.plan).read_bytes())
        if plan.sha256 != self.announcement.occasion.plan_sha256:
            raise TrustError("The plan is not the one that was announced.", "Tell the coordinator.")
        return plan

    def fetch_weights(self, plan: Plan) -> Weights:
        """The round's weights; raises TrustError if they are not those that were announced."""
        if self.announcement.base.digest != self.announcement.occasion.base_digest:
            raise TrustError("The weights are not the ones that were announced.", "Tell the coordinator.")
        return load(self.fetch_base(), like=blank_model(plan.model).state_dict())

    def fetch_control(self, base: Weights) -> Weights:
        """The federation's control variate by names of weights; empty if the terms name none."""
        terms = self.announcement.terms
        if terms is None or terms.state is None:
            return {}
        like = {**control_like(base), EXPONENTS: torch.empty(len(terms.exponents))}
        control = load(self.fetch(terms.state), like=like)
        return {name: control[control_of(name)] for name in base}

    def fetch_base(self) -> Path:
        """Where the round's weights are."""
        base, delta = self.announcement.base, self._useful_delta()
        if delta is not None and self._rebuild(base, delta):
            return self.blobs.path(base.digest)
        return self.fetch(base)

    def _look_at(self, blob: BlobRef) -> None:
        try:
            self.blobs.verify(blob)
        except TamperedError as error:
            self.blobs.remove(blob.digest)
            raise TamperedError(
                "A blob on this site's disk is damaged.",
                "Check the disk; it is fetched again when it is needed.",
            ) from error

    def _useful_delta(self) -> Delta | None:
        """The announced delta, if it is shorter than the weights and can be applied to what is here."""
        base, delta = self.announcement.base, self.announcement.delta
        if delta is None or delta.blob.size_bytes >= base.size_bytes:
            return None
        return delta if self.blobs.has(delta.since) and not self.blobs.has(base.digest) else None

    def _rebuild(self, base: BlobRef, delta: Delta) -> bool:
        """Whether the base could be made of the weights before it; else it is to be fetched whole."""
        try:
            self.transfer.fetch(delta.blob, self.blobs, should_stop=self.should_stop)
            with self.blobs.draft() as draft:
                with (
                    self.blobs.path(delta.since).open("rb") as old,
                    self.blobs.path(delta.blob.digest).open("rb") as changes,
                    draft.open("wb") as new,
                ):
                    apply_delta(old, changes, new, old_digest=delta.since, size_bytes=base.size_bytes)
                self.blobs.put_draft(draft, expected=base)
            return True
        except (NotFoundError, TamperedError, WeightsError) as error:
            log.warning("The round's weights are fetched whole: %s", error.message)
            return False
        finally:
            for digest in (delta.since, delta.blob.digest):
                self.blobs.remove(digest)
