"""What a site keeps of its rounds: what it computed, with the state that goes into the next round.

One file a round, replaced whole: what is answered and the state that follows from it are there together or
not at all. Asked for the same occasion again, the site sends the same update and computes nothing; its
numbers pass through the gate again, under the policy of then (`client.egress`). In a new attempt at a round
it starts from the state of the round before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch

from client.training.evaluation import Metrics
from client.training.trainer import TrainingResult
from shared.errors import StoreError, TransferError, TrustError
from shared.files import write_file
from shared.fixed_point.grid import Shape
from shared.model import Weights
from shared.model.weights import to_bytes
from shared.records import Occasion
from shared.transfer.blob_ref import BlobRef

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One answer of the train phase, as it was computed; never sent but through the gate.

    Attributes
    ----------
    update
        The blob that goes with it, of tensors of these `shapes`.
    num_clipped
        Values of the update that lay beyond the round's grid.
    metrics
        Of the round's incoming weights, on the validation part; None if it is empty.
    duration_s
        Seconds that the site computed.
    state
        Named tensors that the next round needs: what rounding still owes, a control variate, local layers.
    """

    occasion: Occasion
    update: BlobRef
    shapes: Mapping[str, Shape]
    training: TrainingResult
    num_clipped: int
    metrics: Metrics | None
    duration_s: float
    state: Weights


class RoundRecords:
    """The records below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, occasion: Occasion) -> RoundRecord | None:
        """The answer that this very occasion got before."""
        path = self._path(occasion.run_id, occasion.round_number)
        record = _read(path) if path.exists() else None
        return record if record is not None and record.occasion == occasion else None

    def state_before(self, occasion: Occasion) -> Weights:
        """The state after the last earlier round of the run in which the site took part; empty if none."""
        earlier = [number for number in self._rounds(occasion.run_id) if number < occasion.round_number]
        return _read(self._path(occasion.run_id, max(earlier))).state if earlier else {}

    def keep(self, record: RoundRecord) -> None:
        """Commit an answer and its state; forgets what no later round can ask for."""
        occasion = record.occasion
        document = {
            "occasion": occasion.model_dump(mode="json"),
            "update": [record.update.digest, record.update.size_bytes],
            "shapes": dict(record.shapes),
            "training": asdict(record.training),
            "num_clipped": record.num_clipped,
            "metrics": asdict(record.metrics) if record.metrics else None,
            "duration_s": record.duration_s,
        }
        head = json.dumps(document).encode()
        path = self._path(occasion.run_id, occasion.round_number)
        write_file(path, _LENGTH.pack(len(head)) + head + to_bytes(record.state))
        earlier = sorted(n for n in self._rounds(occasion.run_id) if n < occasion.round_number)
        for number in earlier[:-1]:
            self._path(occasion.run_id, number).unlink(missing_ok=True)

    def _rounds(self, run_id: str) -> list[int]:
        return [int(path.stem) for path in (self._folder / run_id).glob("*.round")]

    def _path(self, run_id: str, number: int) -> Path:
        return self._folder / run_id / f"{number}.round"


def _read(path: Path) -> RoundRecord:
    try:
        content = path.read_bytes()
        (length,) = _LENGTH.unpack_from(content)
        document = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        digest, size_bytes = document["update"]
        return RoundRecord(
            occasion=Occasion.from_bytes(json.dumps(document["occasion"]).encode()),
            update=BlobRef(digest=digest, size_bytes=size_bytes),
            shapes={name: tuple(shape) for name, shape in document["shapes"].items()},
            training=TrainingResult(**document["training"]),
            num_clipped=document["num_clipped"],
            metrics=Metrics(**document["metrics"]) if document["metrics"] else None,
            duration_s=document["duration_s"],
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
