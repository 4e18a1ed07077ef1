"""The form in which a signed envelope rides in a Flower message.

Flower carries the envelope as opaque bytes; no array and no metric of ours is in a Flower record.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from shared.errors import TrustError

MESSAGE_TYPE = MessageType.TRAIN
MAX_ENVELOPE_BYTES = 1 << 20
_RECORD = "mammofed"
_KEY = "envelope"


def pack(envelope: bytes) -> RecordDict:
    """The content of a Flower message that carries `envelope`."""
    return RecordDict({_RECORD: ConfigRecord({_KEY: envelope})})


def unpack(message: Message) -> bytes:
    """The envelope that a Flower message carries.

    Raises
    ------
    TrustError
        The message carries anything else.
    """
    content = message.content
    if set(content) != {_RECORD}:
        raise TrustError("A message carries an unknown record.", "Update mammofed on both sides.")
    record = content[_RECORD]
    envelope = record.get(_KEY) if isinstance(record, ConfigRecord) and set(record) == {_KEY} else None
    if not isinstance(envelope, bytes) or len(envelope) > MAX_ENVELOPE_BYTES:
        raise TrustError("A message carries no signed envelope.", "Update mammofed on both sides.")
    return envelope
