"""The gate out of the hospital: what leaves is built here from an allow-list, and written down first.

Leaves: an update with exactly the names and shapes that the plan's strategy sends, all finite, rounded to
the round's grid, and under a mask if the plan says so, with what takes the mask off the sum alone; counts
of examples, none smaller than the site's policy tells; how many values the grid cut off; those statistics
over images that were asked for and that the policy lets go, of the weights that were asked about and of the
site's own model beside the final ones, and of how the training images look, or in the place of all these
numbers for a sum under a mask; where the audit log stands.
Nothing that belongs to one image, no text but identifiers of the run, and never a layer that the site keeps
for itself.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from client.evaluation.evaluator import NOTHING, Evaluated
from client.metric_sums import Metrics, metrics_told
from client.policy.decisions import reported_count
from client.policy.policy import EgressTable, Policy
from client.store.audit import AuditLog
from client.store.ledger import Kind, Ledger, LedgerEntry, Rule, names_in
from client.training.trainer import TrainingResult
from shared.audit.event import Event
from shared.audit.events import ContributionRefused, ContributionReleased
from shared.errors import EgressError, MammofedError, NotNowError, PolicyError, WeightsError
from shared.fixed_point.grid import Grid, Integers, Shape
from shared.fixed_point.masked_file import write_masked
from shared.fixed_point.rounding import Rounding
from shared.fixed_point.sums import ring_bits
from shared.fixed_point.update_file import read_update, write_update
from shared.masking.records import MaskingTold
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import Mask
from shared.model.weights import check
from shared.plan import MetricName
from shared.records import (
    CONTRIBUTION_TYPE,
    REFUSAL_TYPE,
    Contribution,
    Occasion,
    Refusal,
)
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey

DURATION_STEP_S = 10.0
"""How long a round took leaves rounded up to this: told exactly, it would tell the number of examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Releases what one site says in rounds."""

    site_id: str
    ledger: Ledger
    log: AuditLog
    blobs: BlobStore
    signing_key: SigningKey

    def round_update(
        self,
        update: Mapping[str, Tensor],
        rounding: Rounding,
        *,
        training: TrainingResult,
        compress: bool,
    ) -> BlobRef:
        """Round the update of a round, and lay it down where it can be sent from; nothing leaves yet.

        Parameters
        ----------
        update
            Exactly the tensors of the round's grid.
        training
            What will be told of the round: an update whose contribution could not leave does not either.

        Raises
        ------
        EgressError
            It has not the form that was asked for, or something of it is not finite.
        """
        _require_finite(training)
        try:
            check(update, like={name: torch.empty(shape) for name, shape in rounding.grid.shapes.items()})
        except MammofedError as error:
            raise EgressError(f"The update does not leave. {error.message}", error.hint) from error
        with self.blobs.draft() as draft:
            with draft.open("wb") as file:
                blocks = rounding.blocks({name: tensor.numpy() for name, tensor in update.items()})
                write_update(file, rounding.grid, blocks, compress=compress)
            return self.blobs.put_draft(draft)

    def mask_update(
        self,
        update: BlobRef,
        rounding: Rounding,
        mask: Mask,
        *,
        num_sites: int,
        noise: tuple[SiteNoise, Generator] | None = None,
    ) -> BlobRef:
        """Lay a rounded update down under a mask, for a sum of so many sites' updates; nothing leaves yet.

        Nobody can look at it afterwards, so that what admission looks at otherwise is looked at here.

        Parameters
        ----------
        noise
            What is added to it, and the chance that it is drawn from.

        Raises
        ------
        EgressError
            It is not of the round's grid, or its norm lies beyond the plan's bound.
        AggregationError
            A sum cannot hold the noise.
        """
        grid = rounding.grid
        ring = ring_bits(grid.bits, num_sites) if noise is None else noise[0].ring_bits(num_sites)
        try:
            with self.blobs.path(update.digest).open("rb") as plain, self.blobs.draft() as draft:
                read: Iterable[Integers] = read_update(plain, grid)
                if rounding.bound is not None:
                    read = rounding.bound.checked(grid, read)
                blocks: Iterable[NDArray[np.integer]] = (
                    read if noise is None else _with_noise(grid, read, *noise)
                )
                with draft.open("wb") as file:
                    words = (
                        integers.astype(np.int64).astype(np.uint32) + mask.words(integers.size)
                        for integers in blocks
                    )
                    write_masked(file, grid, words, ring=ring)
                return self.blobs.put_draft(draft)
        except WeightsError as error:
            raise EgressError(f"The update does not leave. {error.message}", error.hint) from error

    def release_update(
        self, occasion: Occasion, update: BlobRef, shapes: Mapping[str, Shape], *, is_masked: bool
    ) -> None:
        """Write down a rounded update, which may be sent then; once more whenever it is sent again."""
        self.ledger.append(
            LedgerEntry(
                occasion=occasion,
                kind=Kind.UPDATE,
                rule=Rule.MASKED_WEIGHTS if is_masked else Rule.WEIGHTS_OF_THE_PLAN,
                tensors=shapes,
                size_bytes=update.size_bytes,
                sha256=update.digest,
            ),
            at=time.time(),
        )

    def compose_contribution(
        self,
        occasion: Occasion,
        *,
        num_examples: int | None,
        training: TrainingResult | None = None,
        update: BlobRef | None = None,
        num_clipped: int = 0,
        evaluated: Evaluated = NOTHING,
        asked: Collection[MetricName],
        rules: EgressTable,
        duration_s: float,
        masking: MaskingTold | None = None,
        epsilon: float | None = None,
        masked_metrics: str | None = None,
    ) -> Contribution:
        """A contribution as it may leave; nothing leaves yet.

        Parameters
        ----------
        num_examples
            In the training part; None where it is not asked for.
        asked
            The metrics that the round asks for; of these leave those that the rules let go.
        rules
            Of the site's policy. A part with fewer images than may be told of is not told of at all.
        masked_metrics
            In the place of all metrics: their sums under a mask; None where each is told for itself.

        Raises
        ------
        EgressError
            A number is not finite, or the training part is too small to be told of.
        """
        _require_finite(training)
        told = Metrics()
        if masked_metrics is None:
            told = metrics_told(evaluated, training, asked=asked, rules=rules)
        return Contribution(
            occasion=occasion,
            num_examples=0 if num_examples is None else _training_count(num_examples, rules),
            update=update,
            num_clipped=num_clipped,
            train_loss=told.train_loss,
            evaluation=told.evaluation,
            personal_evaluation=told.personal,
            appearance=told.appearance,
            duration_s=math.ceil(duration_s / DURATION_STEP_S) * DURATION_STEP_S,
            checkpoint=self._checkpoint(),
            masking=masking,
            epsilon=epsilon,
            masked_metrics=masked_metrics,
        )

    def release_contribution(self, contribution: Contribution) -> bytes:
        """The signed envelope of a contribution, written down."""
        occasion = contribution.occasion
        envelope = sign(CONTRIBUTION_TYPE, contribution.to_bytes(), self.signing_key).to_bytes()
        blob = BlobRef.of(envelope)
        event = ContributionReleased(
            subject=occasion.run_id,
            number=occasion.round_number,
            attempt=occasion.attempt,
            phase=occasion.phase,
            sha256=blob.digest,
            size_bytes=blob.size_bytes,
        )
        self._write_down(Kind.CONTRIBUTION, _rule_of(contribution), contribution, blob, event)
        return envelope

    def release_refusal(self, occasion: Occasion, error: MammofedError) -> bytes:
        """The signed envelope of a refusal: kind of error, broken rules, other hours; never its text."""
        reason = type(error).__name__
        refusal = Refusal(
            occasion=occasion,
            reason=reason,
            rules=error.rules if isinstance(error, PolicyError) else (),
            not_before=error.not_before if isinstance(error, NotNowError) else None,
            checkpoint=self._checkpoint(),
        )
        envelope = sign(REFUSAL_TYPE, refusal.to_bytes(), self.signing_key).to_bytes()
        event = ContributionRefused(
            subject=occasion.run_id,
            number=occasion.round_number,
            attempt=occasion.attempt,
            phase=occasion.phase,
            reason=reason,
        )
        self._write_down(Kind.REFUSAL, Rule.KIND_OF_ERROR, refusal, BlobRef.of(envelope), event)
        return envelope

    def release_failure(self, reason: str) -> None:
        """Let a word about a message go that was not answered: the kind of what went wrong."""
        blob = BlobRef.of(reason.encode())
        self.ledger.append(
            LedgerEntry(
                kind=Kind.FAILURE,
                rule=Rule.KIND_OF_ERROR,
                names=("reason",),
                size_bytes=blob.size_bytes,
                sha256=blob.digest,
            ),
            at=time.time(),
        )

    def _checkpoint(self) -> str:
        checkpoint = self.log.checkpoint(side=self.site_id, key=self.signing_key, at=time.time())
        return checkpoint.to_bytes().decode()

    def _write_down(
        self, kind: Kind, rule: Rule, record: Contribution | Refusal, blob: BlobRef, event: Event
    ) -> None:
        entry = LedgerEntry(
            occasion=record.occasion,
            kind=kind,
            rule=rule,
            names=tuple(names_in(json.loads(record.to_bytes()))),
            size_bytes=blob.size_bytes,
            sha256=blob.digest,
        )
        self.ledger.append(entry, at=time.time(), event=event, actor=self.site_id)


def require_enough(num_examples: int, policy: Policy) -> None:
    """Return only if so many examples are enough to train on, and to tell of.

    Raises
    ------
    EgressError
        They are too few.
    """
    if num_examples < max(policy.data.min_examples, policy.egress.smallest_count):
        raise EgressError(
            "The training part is smaller than this site's policy lets it be.",
            "Add mammograms with masks, or lower `data.min_examples` and `egress.smallest_count`.",
        )


def _with_noise(
    grid: Grid, blocks: Iterable[Integers], noise: SiteNoise, chance: Generator
) -> Iterator[NDArray[np.integer]]:
    for block, integers in zip(grid.blocks(), blocks, strict=True):
        yield integers + noise.drawn(block, chance)


def _require_finite(training: TrainingResult | None) -> None:
    if training is not None and not math.isfinite(training.loss):
        raise EgressError("The training loss is not finite.", "Look at the training log of this round.")


def _rule_of(contribution: Contribution) -> Rule:
    if contribution.masking is not None:
        return Rule.WHAT_MASKS_NEED
    return Rule.LISTED_NUMBERS if contribution.masked_metrics is None else Rule.STATISTICS_UNDER_A_MASK


def _training_count(num_examples: int, rules: EgressTable) -> int:
    count = reported_count(rules, num_examples)
    if count is None:
        raise EgressError(
            "The training part is smaller than the smallest count that this site tells.",
            "Add mammograms with masks, or lower `egress.smallest_count` in policy.toml.",
        )
    return count
