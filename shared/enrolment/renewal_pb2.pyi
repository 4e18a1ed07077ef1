from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class StandingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StandingReply(_message.Message):
    __slots__ = ("server_time", "statements", "software_version")
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    server_time: float
    statements: _containers.RepeatedScalarFieldContainer[bytes]
    software_version: str
    def __init__(self, server_time: _Optional[float] = ..., statements: _Optional[_Iterable[bytes]] = ..., software_version: _Optional[str] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("protocol_version", "csr_pem", "signing_public_key", "node_public_key", "software_version", "signing_key_proof", "node_key_proof", "signature")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNING_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_PROOF_FIELD_NUMBER: _ClassVar[int]
    NODE_KEY_PROOF_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    csr_pem: bytes
    signing_public_key: bytes
    node_public_key: str
    software_version: str
    signing_key_proof: bytes
    node_key_proof: bytes
    signature: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., csr_pem: _Optional[bytes] = ..., signing_public_key: _Optional[bytes] = ..., node_public_key: _Optional[str] = ..., software_version: _Optional[str] = ..., signing_key_proof: _Optional[bytes] = ..., node_key_proof: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RenewReply(_message.Message):
    __slots__ = ("certificate_pem", "statements")
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    certificate_pem: bytes
    statements: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, certificate_pem: _Optional[bytes] = ..., statements: _Optional[_Iterable[bytes]] = ...) -> None: ...
