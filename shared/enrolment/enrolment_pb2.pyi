from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("protocol_version", "secret", "csr_pem", "signing_public_key", "node_public_key", "software_version", "signing_key_proof", "node_key_proof")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    SIGNING_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_PROOF_FIELD_NUMBER: _ClassVar[int]
    NODE_KEY_PROOF_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    secret: bytes
    csr_pem: bytes
    signing_public_key: bytes
    node_public_key: str
    software_version: str
    signing_key_proof: bytes
    node_key_proof: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., secret: _Optional[bytes] = ..., csr_pem: _Optional[bytes] = ..., signing_public_key: _Optional[bytes] = ..., node_public_key: _Optional[str] = ..., software_version: _Optional[str] = ..., signing_key_proof: _Optional[bytes] = ..., node_key_proof: _Optional[bytes] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("site_id", "site_name", "certificate_pem", "anchors", "coordinator_name", "fleet_address", "transfer_address", "server_time")
    SITE_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_NAME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_NAME_FIELD_NUMBER: _ClassVar[int]
    FLEET_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    site_id: str
    site_name: str
    certificate_pem: bytes
    anchors: bytes
    coordinator_name: str
    fleet_address: str
    transfer_address: str
    server_time: float
    def __init__(self, site_id: _Optional[str] = ..., site_name: _Optional[str] = ..., certificate_pem: _Optional[bytes] = ..., anchors: _Optional[bytes] = ..., coordinator_name: _Optional[str] = ..., fleet_address: _Optional[str] = ..., transfer_address: _Optional[str] = ..., server_time: _Optional[float] = ...) -> None: ...
