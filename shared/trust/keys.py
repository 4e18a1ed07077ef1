"""Private and public keys of the coordinator and the sites.

Three kinds, one purpose each, so that none can be used in the place of another:

- signing keys, Ed25519 (RFC 8032), sign envelopes;
- TLS keys, EC P-256, stand behind certificates;
- node keys, EC P-384 in OpenSSH format, are the identity of a site's Flower node.

Private files have mode 0600 and are replaced in one step. No `repr` shows a secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import TamperedError, TrustError
from shared.files import PRIVATE_FILE, PUBLIC_FILE, write_file

_PEM = serialization.Encoding.PEM
_PKCS8 = serialization.PrivateFormat.PKCS8
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_PLAIN = serialization.NoEncryption()
_RAW_KEY_BYTES = 32
_NODE_SIGNATURE = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public Ed25519 key.

    Attributes
    ----------
    raw
        The 32 bytes of RFC 8032.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != _RAW_KEY_BYTES:
            raise TrustError(
                "A public signing key does not have 32 bytes.", "Ask its owner for the key again."
            )

    @property
    def key_id(self) -> str:
        """First 16 hex digits of the raw key's SHA-256: a name for people, no proof of anything."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return only if this key's owner signed the message.

        Raises
        ------
        TamperedError
            The signature does not fit the message and this key.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature as error:
            raise _bad_signature() from error

    def save(self, path: Path) -> None:
        """Write as PEM, readable by all. Raises StoreError."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        write_file(path, key.public_bytes(_PEM, _SPKI), mode=PUBLIC_FILE)

    @classmethod
    def load(cls, path: Path) -> VerifyKey:
        """Read from PEM. Raises TrustError if the file is missing or holds something else."""
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise _unreadable("public signing key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise _unreadable("public signing key")
        return cls(key.public_bytes_raw())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SigningKey:
    """A private Ed25519 key. Make with `generate` or `load`."""

    _private: Ed25519PrivateKey = field(repr=False)

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.verify_key.key_id!r})"

    @classmethod
    def generate(cls) -> SigningKey:
        """A new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read from PEM (PKCS #8). Raises TrustError if the file is missing or holds something else."""
        key = _parse_private(_read(path, "private signing key"), "private signing key")
        if not isinstance(key, Ed25519PrivateKey):
            raise _unreadable("private signing key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write as PEM (PKCS #8), mode 0600. Raises StoreError."""
        write_file(path, self._private.private_bytes(_PEM, _PKCS8, _PLAIN), mode=PRIVATE_FILE)

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return VerifyKey(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._private.sign(message)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TlsKey:
    """A private EC P-256 key behind a certificate. Make with `generate` or `load`."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    def __repr__(self) -> str:
        return "TlsKey()"

    @classmethod
    def generate(cls) -> TlsKey:
        """A new random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> TlsKey:
        """Read from PEM (PKCS #8). Raises TrustError if the file is missing or holds something else."""
        return cls.from_pem(_read(path, "TLS private key"))

    @classmethod
    def from_pem(cls, content: bytes) -> TlsKey:
        """Read what `to_pem` has written. Raises TrustError if it is something else."""
        key = _parse_private(content, "TLS private key")
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _unreadable("TLS private key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write as PEM (PKCS #8), mode 0600. Raises StoreError."""
        write_file(path, self.to_pem(), mode=PRIVATE_FILE)

    def to_pem(self) -> bytes:
        """PEM (PKCS #8) without encryption, as TLS libraries take it. A secret."""
        return self.private.private_bytes(_PEM, _PKCS8, _PLAIN)


@dataclass(frozen=True, slots=True)
class NodePublicKey:
    """The public key of a site's Flower node.

    Attributes
    ----------
    text
        OpenSSH form, `ecdsa-sha2-nistp384 <base64>`, without a comment.
    """

    text: str

    def __post_init__(self) -> None:
        canonical = self._public().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        object.__setattr__(self, "text", canonical.decode())

    def _public(self) -> ec.EllipticCurvePublicKey:
        try:
            key = serialization.load_ssh_public_key(self.text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _unreadable("public node key") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            raise _unreadable("public node key")
        return key

    def to_pem(self) -> bytes:
        """PEM (SubjectPublicKeyInfo), as Flower's Control API takes it."""
        return self._public().public_bytes(_PEM, _SPKI)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return only if this key's owner signed the message. Raises TamperedError."""
        try:
            self._public().verify(signature, message, _NODE_SIGNATURE)
        except InvalidSignature as error:
            raise _bad_signature() from error


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NodeKey:
    """The private EC P-384 key of a site's Flower node. Make with `generate` or `load`."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    def __repr__(self) -> str:
        return "NodeKey()"

    @classmethod
    def generate(cls) -> NodeKey:
        """A new random key."""
        return cls(ec.generate_private_key(ec.SECP384R1()))

    @classmethod
    def load(cls, path: Path) -> NodeKey:
        """Read from OpenSSH format. Raises TrustError if the file is missing or holds something else."""
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable("private node key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
            raise _unreadable("private node key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write in OpenSSH format, mode 0600, as `flower-supernode` takes it. Raises StoreError."""
        content = self.private.private_bytes(_PEM, serialization.PrivateFormat.OpenSSH, _PLAIN)
        write_file(path, content, mode=PRIVATE_FILE)

    @property
    def public(self) -> NodePublicKey:
        """The public half."""
        text = self.private.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        return NodePublicKey(text.decode())

    def sign(self, message: bytes) -> bytes:
        """A DER-encoded ECDSA signature with SHA-384."""
        return self.private.sign(message, _NODE_SIGNATURE)


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(kind) from error


def _parse_private(content: bytes, kind: str) -> object:
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unreadable(kind) from error


def _unreadable(kind: str) -> TrustError:
    return TrustError(
        f"The {kind} is missing, unreadable or of another kind.",
        "Restore it from the backup of this home folder, or make a new identity by enrolling again.",
    )


def _bad_signature() -> TamperedError:
    return TamperedError(
        "A signature does not fit its message.",
        "Do not use the content; ask its sender for it again and report this if it recurs.",
    )
