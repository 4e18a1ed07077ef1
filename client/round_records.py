"""What a site keeps of its rounds: what it computed, with the state that goes into the next round.

One file a round, replaced whole: what is answered and the state that follows from it are there together or
not at all. Asked for the same occasion again, the site sends the same update and computes nothing; its
numbers pass through the gate again, under the policy of then (`client.egress`).

A round is computed from the state after the last contribution that counts, which the coordinator names. What
came too late, was rejected, or was of an attempt that came to nothing is in no checkpoint; the state that
followed from it is not gone on from.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch

from client.training.trainer import TrainingResult
from shared.errors import StoreError, TransferError, TrustError
from shared.evaluation.records import Evaluation
from shared.files import write_file
from shared.fixed_point.grid import Shape
from shared.model import Weights
from shared.model.weights import to_bytes
from shared.records import Announcement, Counted, Occasion, Terms
from shared.transfer.blob_ref import BlobRef

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One answer of the train phase, as it was computed; never sent but through the gate.

    Attributes
    ----------
    occasion, terms, counted
        As they were announced.
    data
        Fingerprint of the training part that it was computed from.
    update
        The blob that goes with it, of tensors of these `shapes`.
    num_clipped
        Values of the update that lay beyond the round's grid.
    evaluation
        Of the round's incoming weights, on the validation part, however small it is; None if it is empty.
    duration_s
        Seconds that the site computed.
    noise_key
        Of 256 bits, hex: what noise is added to the update in every attempt at the round, so that two sums of
        it tell no more than one; None under a plan without. A secret.
    state
        Named tensors that the next round needs: what rounding still owes, a control variate, local layers.
    """

    occasion: Occasion
    terms: Terms
    counted: Counted | None
    data: str
    update: BlobRef
    shapes: Mapping[str, Shape]
    training: TrainingResult
    num_clipped: int
    evaluation: Evaluation | None
    duration_s: float
    noise_key: str | None = field(repr=False)
    state: Weights


class RoundRecords:
    """The records below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, announcement: Announcement) -> RoundRecord | None:
        """The answer that this very occasion got before."""
        record = self._of_round(announcement.occasion)
        return record if record is not None and record.occasion == announcement.occasion else None

    def find_earlier(self, announcement: Announcement, *, data: str) -> RoundRecord | None:
        """The answer to an earlier attempt at the same round, for this one, if nothing has changed since.

        It is another answer than a new computation would give, for that draws other random numbers; but it is
        one from the same weights, state and data on the same terms. What was rejected is not sent again.

        Parameters
        ----------
        data
            Fingerprint of the training part as it is now.
        """
        record, occasion = self._of_round(announcement.occasion), announcement.occasion
        if (
            record is None
            or record.occasion.attempt > occasion.attempt
            or record.occasion.model_copy(update={"attempt": occasion.attempt}) != occasion
            or (record.terms, record.counted, record.data) != (announcement.terms, announcement.counted, data)
            or (announcement.rejected and announcement.rejected.round_number == occasion.round_number)
        ):
            return None
        return replace(record, occasion=occasion)

    def state_after(self, counted: Counted | None) -> Weights:
        """The state after the contribution that counts; empty before the first.

        If it is not here any more, the site goes on as one that is new to the run.
        """
        if counted is None:
            return {}
        path = self._path(counted.run_id, counted.round_number)
        if not path.exists():
            log.warning("what this site kept of round %d is not here: it begins anew", counted.round_number)
            return {}
        return _read(path).state

    def keep(self, record: RoundRecord) -> None:
        """Commit an answer and its state; forgets what no later round can ask for."""
        occasion, counted = record.occasion, record.counted
        document = {
            "occasion": occasion.model_dump(mode="json"),
            "terms": record.terms.model_dump(mode="json"),
            "counted": counted.model_dump(mode="json") if counted else None,
            "data": record.data,
            "update": [record.update.digest, record.update.size_bytes],
            "shapes": dict(record.shapes),
            "training": asdict(record.training),
            "num_clipped": record.num_clipped,
            "evaluation": record.evaluation.model_dump(mode="json") if record.evaluation else None,
            "duration_s": record.duration_s,
            "noise_key": record.noise_key,
        }
        head = json.dumps(document).encode()
        path = self._path(occasion.run_id, occasion.round_number)
        write_file(path, _LENGTH.pack(len(head)) + head + to_bytes(record.state))
        needed = {occasion.round_number}
        if counted is not None and counted.run_id == occasion.run_id:
            needed.add(counted.round_number)
        for number in set(self._rounds(occasion.run_id)) - needed:
            self._path(occasion.run_id, number).unlink(missing_ok=True)

    def _of_round(self, occasion: Occasion) -> RoundRecord | None:
        path = self._path(occasion.run_id, occasion.round_number)
        return _read(path) if path.exists() else None

    def _rounds(self, run_id: str) -> list[int]:
        return [int(path.stem) for path in (self._folder / run_id).glob("*.round")]

    def _path(self, run_id: str, number: int) -> Path:
        return self._folder / run_id / f"{number}.round"


def _evaluation_of(document: dict[str, Any] | None) -> Evaluation | None:
    return None if document is None else Evaluation.model_validate_json(json.dumps(document))


def _read(path: Path) -> RoundRecord:
    try:
        content = path.read_bytes()
        (length,) = _LENGTH.unpack_from(content)
        document = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        digest, size_bytes = document["update"]
        return RoundRecord(
            occasion=Occasion.from_bytes(json.dumps(document["occasion"]).encode()),
            terms=Terms.from_bytes(json.dumps(document["terms"]).encode()),
            counted=Counted.from_bytes(json.dumps(document["counted"]).encode())
            if document["counted"]
            else None,
            data=document["data"],
            update=BlobRef(digest=digest, size_bytes=size_bytes),
            shapes={name: tuple(shape) for name, shape in document["shapes"].items()},
            training=TrainingResult(**document["training"]),
            num_clipped=document["num_clipped"],
            evaluation=_evaluation_of(document["evaluation"]),
            duration_s=document["duration_s"],
            noise_key=document.get("noise_key"),
            state=safetensors.torch.load(content[_LENGTH.size + length :]),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        safetensors.SafetensorError,
        TrustError,
        TransferError,
    ) as error:
        raise StoreError(
            "A record of an earlier round is damaged.",
            "Restore this site's home from a backup, or leave the run out.",
        ) from error
