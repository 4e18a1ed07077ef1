"""What the members of a federation believe their coordinator by, and how that changes.

A site takes its first anchors from the enrolment, over a connection that the invitation has pinned. Each
later version is signed by the signing key of the version before it and travels over TLS under a root that the
site already believes: whoever has stolen one of the two keys cannot move a site to keys of his own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import TrustError
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey, VerifyKey

ANCHORS_TYPE = "application/vnd.mammofed.anchors+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A signing key of the coordinator that signs no more.

    Attributes
    ----------
    retired_at
        Seconds since the Unix epoch; models that it signed until then stay good.
    """

    key: VerifyKey
    retired_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """One version of what is believed.

    Attributes
    ----------
    version
        1 at the founding; each change is the next number.
    roots_pem
        Root certificates, the one that issues now first; those after it are believed until they are retired.
    signing_key
        The only key whose announcements are followed.
    retired_keys
        The signing keys before, oldest first.
    """

    version: int = 1
    roots_pem: tuple[bytes, ...]
    signing_key: VerifyKey
    retired_keys: tuple[RetiredKey, ...] = ()

    @property
    def root_pem(self) -> bytes:
        """The root that issues now."""
        return self.roots_pem[0]

    @property
    def bundle_pem(self) -> bytes:
        """Every root that is believed, as TLS libraries take them."""
        return b"".join(self.roots_pem)

    def with_signing_key(self, key: VerifyKey, *, now: float) -> Anchors:
        """The next version: another key signs from now on."""
        retired = RetiredKey(key=self.signing_key, retired_at=now)
        return replace(
            self, version=self.version + 1, signing_key=key, retired_keys=(*self.retired_keys, retired)
        )

    def with_root(self, root_pem: bytes) -> Anchors:
        """The next version: another root issues from now on, and those before are still believed."""
        return replace(self, version=self.version + 1, roots_pem=(root_pem, *self.roots_pem))

    def with_current_root_alone(self) -> Anchors:
        """The next version: no root is believed but the one that issues."""
        return replace(self, version=self.version + 1, roots_pem=self.roots_pem[:1])

    def signed(self, key: SigningKey) -> bytes:
        """The statement of this version; `key` is the signing key of the version before."""
        return sign(ANCHORS_TYPE, self.to_bytes(), key).to_bytes()

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no white space, ASCII."""
        document = {
            "version": self.version,
            "roots": [root_pem.decode() for root_pem in self.roots_pem],
            "signing_key": self.signing_key.raw.hex(),
            "retired_keys": [
                {"key": one.key.raw.hex(), "retired_at": one.retired_at} for one in self.retired_keys
            ],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Anchors:
        """Read anchors whose origin is proved.

        Raises
        ------
        TrustError
            They are not of this form, or a root is not one certificate.
        """
        try:
            document = _Document.model_validate_json(content)
        except ValidationError as error:
            raise TrustError(
                "The coordinator's statement of its keys has an unknown form.",
                "Install the version of mammofed that the coordinator runs.",
            ) from error
        roots_pem = tuple(root.encode() for root in document.roots)
        if not all(_is_one_certificate(root_pem) for root_pem in roots_pem):
            raise _breaks_off()
        return cls(
            version=document.version,
            roots_pem=roots_pem,
            signing_key=VerifyKey(bytes.fromhex(document.signing_key)),
            retired_keys=tuple(
                RetiredKey(key=VerifyKey(bytes.fromhex(one.key)), retired_at=one.retired_at)
                for one in document.retired_keys
            ),
        )


def follow(known: Anchors, statements: Sequence[bytes]) -> Anchors:
    """What is believed after all that a coordinator has stated since.

    Each version that follows is believed only if

    1. the signing key of the version before it has signed it;
    2. it is the very next version, so that no change can be left out or played again;
    3. it keeps the history: no retired key is lost, none is invented.

    Parameters
    ----------
    statements
        Of the versions 2, 3, ... in this order, as `Anchors.signed` makes them; known ones are passed over.

    Raises
    ------
    TrustError, TamperedError
        A check failed; what was known before stays what is believed.
    """
    for statement in statements[known.version - 1 :]:
        # 1.
        payload = verify(Envelope.from_bytes(statement), ANCHORS_TYPE, known.signing_key)
        following = Anchors.from_bytes(payload)
        # 2. and 3.
        if following.version != known.version + 1 or not _keeps_history(known, following):
            raise _breaks_off()
        known = following
    return known


def _keeps_history(known: Anchors, following: Anchors) -> bool:
    if following.signing_key == known.signing_key:
        return following.retired_keys == known.retired_keys
    *before, last = following.retired_keys or (None,)
    return tuple(before) == known.retired_keys and last is not None and last.key == known.signing_key


def _is_one_certificate(pem: bytes) -> bool:
    try:
        return len(x509.load_pem_x509_certificates(pem)) == 1
    except ValueError:
        return False


_Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _RetiredDocument(_Strict):
    key: _Key
    retired_at: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(_Strict):
    version: Annotated[int, Field(ge=1)]
    roots: Annotated[list[str], Field(min_length=1, max_length=8)]
    signing_key: _Key
    retired_keys: list[_RetiredDocument]


def _breaks_off() -> TrustError:
    return TrustError(
        "The coordinator's statement of its keys does not follow from what this site knows.",
        "Do not go on before the coordinator has told you by telephone what became of its keys.",
    )
