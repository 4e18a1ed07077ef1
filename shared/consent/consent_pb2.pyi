from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class OffersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OffersReply(_message.Message):
    __slots__ = ("envelope", "published_sha256")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_SHA256_FIELD_NUMBER: _ClassVar[int]
    envelope: _containers.RepeatedScalarFieldContainer[bytes]
    published_sha256: str
    def __init__(self, envelope: _Optional[_Iterable[bytes]] = ..., published_sha256: _Optional[str] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class StateReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SituateRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class SituateReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishedRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishedReply(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...
