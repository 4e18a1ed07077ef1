"""The gate out of the hospital: what leaves is built here from an allow-list, and written down first.

Leaves: an update with exactly the names, shapes and types of the weights that came in, all finite; counts
of examples; means over images. Nothing that belongs to one image, no text but identifiers of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from client.store.ledger import Ledger, LedgerEntry
from client.training.evaluation import Metrics
from client.training.trainer import TrainingResult
from shared.errors import EgressError, MammofedError
from shared.model import Weights
from shared.model.weights import subtract, to_bytes
from shared.records import (
    CONTRIBUTION_TYPE,
    REFUSAL_TYPE,
    Contribution,
    Evaluation,
    Occasion,
    Refusal,
)
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Releases contributions of one site."""

    ledger: Ledger
    blobs: BlobStore
    signing_key: SigningKey

    def release_update(self, occasion: Occasion, local: Weights, base: Weights) -> BlobRef:
        """Put the update of a round where it can be sent from.

        Raises
        ------
        EgressError
            It has not the form of the weights that came in, or is not finite.
        """
        try:
            update = to_bytes(subtract(local, base))
        except MammofedError as error:
            raise EgressError(f"The update does not leave. {error.message}", error.hint) from error
        blob = self.blobs.put_bytes(update)
        self.ledger.append(
            LedgerEntry(
                occasion=occasion,
                kind="update",
                tensors=len(local),
                size_bytes=blob.size_bytes,
                sha256=blob.digest,
            )
        )
        return blob

    def release_contribution(
        self,
        occasion: Occasion,
        *,
        training: TrainingResult | None,
        update: BlobRef | None,
        metrics: Metrics | None,
        duration_s: float,
    ) -> bytes:
        """The signed envelope of a contribution.

        Raises
        ------
        EgressError
            A number is not finite.
        """
        numbers = [training.loss] if training else []
        numbers += _numbers(metrics) if metrics else []
        if not all(map(math.isfinite, numbers)):
            raise EgressError("A metric is not finite.", "Look at the training log of this round.")
        contribution = Contribution(
            occasion=occasion,
            num_examples=training.num_examples if training else 0,
            update=update,
            train_loss=training.loss if training else None,
            evaluation=_to_evaluation(metrics) if metrics else None,
            duration_s=duration_s,
        )
        return self._sign(occasion, CONTRIBUTION_TYPE, contribution.to_bytes())

    def release_refusal(self, occasion: Occasion, error: MammofedError) -> bytes:
        """The signed envelope of a refusal: the kind of error, never its text."""
        refusal = Refusal(occasion=occasion, reason=type(error).__name__)
        return self._sign(occasion, REFUSAL_TYPE, refusal.to_bytes())

    def _sign(self, occasion: Occasion, payload_type: str, payload: bytes) -> bytes:
        envelope = sign(payload_type, payload, self.signing_key).to_bytes()
        blob = BlobRef.of(envelope)
        kind = "contribution" if payload_type == CONTRIBUTION_TYPE else "refusal"
        self.ledger.append(
            LedgerEntry(
                occasion=occasion, kind=kind, tensors=0, size_bytes=blob.size_bytes, sha256=blob.digest
            )
        )
        return envelope


def _numbers(metrics: Metrics) -> list[float]:
    return [
        metrics.loss,
        metrics.dice_dense,
        metrics.dice_breast,
        metrics.dice_pectoral,
        metrics.percent_density_mae,
    ]


def _to_evaluation(metrics: Metrics) -> Evaluation:
    return Evaluation(
        num_examples=metrics.num_examples,
        loss=metrics.loss,
        dice_dense=metrics.dice_dense,
        dice_breast=metrics.dice_breast,
        dice_pectoral=metrics.dice_pectoral,
        percent_density_mae=metrics.percent_density_mae,
    )
