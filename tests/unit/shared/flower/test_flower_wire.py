"""The form in which envelopes ride in Flower messages."""

from __future__ import annotations

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from shared.errors import TrustError
from shared.flower.wire import MAX_ENVELOPE_BYTES, MESSAGE_TYPE, pack, unpack


@pytest.fixture(autouse=True)
def within_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower makes messages only within a task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def message(content: RecordDict) -> Message:
    return Message(content=content, dst_node_id=7, message_type=MESSAGE_TYPE)


@pytest.mark.parametrize("envelope", [b"", b"signed", bytes(range(256)) * 100])
def test_an_envelope_survives_the_way(envelope: bytes) -> None:
    assert unpack(message(pack(envelope))) == envelope


def test_a_message_of_ours_holds_one_opaque_value_and_no_array_and_no_metric() -> None:
    content = pack(b"signed")

    assert list(content.config_records) == ["mammofed"]
    assert dict(content.config_records["mammofed"]) == {"envelope": b"signed"}
    assert not content.array_records
    assert not content.metric_records


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord({"envelope": b"signed"})}),
        RecordDict({"mammofed": ConfigRecord({"envelope": b"signed"}), "arrays": ArrayRecord()}),
        RecordDict({"mammofed": MetricRecord({"loss": 0.5})}),
        RecordDict({"mammofed": ConfigRecord()}),
        RecordDict({"mammofed": ConfigRecord({"envelope": b"signed", "note": "Jane Doe"})}),
        RecordDict({"mammofed": ConfigRecord({"envelope": "text"})}),
        RecordDict({"mammofed": ConfigRecord({"envelope": 5})}),
        pack(b"x" * (MAX_ENVELOPE_BYTES + 1)),
    ],
    ids=[
        "nothing",
        "another record",
        "arrays beside it",
        "metrics in its place",
        "an empty record",
        "another value beside it",
        "text",
        "a number",
        "more than an envelope may hold",
    ],
)
def test_a_message_with_anything_else_is_refused(content: RecordDict) -> None:
    with pytest.raises(TrustError):
        unpack(message(content))
