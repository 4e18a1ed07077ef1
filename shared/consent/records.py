"""What coordinator and site say to each other before and beside the rounds.

As in `shared.records`, each record is the payload of a signed envelope, and is parsed only after its
signature was verified. What a site states carries a number that grows with each statement of that site, so
that an older one cannot be said again over a newer one.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.errors import TrustError
from shared.record import PROTOCOL, Identifier, Record, Sha256
from shared.records import RuleName
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey

OFFER_TYPE = "application/vnd.mammofed.offer+json"
DECISION_TYPE = "application/vnd.mammofed.decision+json"
STATED_DECISION_TYPE = "application/vnd.mammofed.stated-decision+json"
NOTICE_TYPE = "application/vnd.mammofed.notice+json"
SITUATION_TYPE = "application/vnd.mammofed.situation+json"

MAX_REASON_CHARACTERS = 300
OWNER = "owner"
POLICY = "policy"

_PLAIN = re.compile(r"(?!.*\d\.\d+\.\d+)[\w .,:;'()-]*")


def is_plain(reason: str) -> bool:
    """Whether a text is made of plain words, with no number in dots such as a DICOM UID."""
    return _PLAIN.fullmatch(reason) is not None


def _plain(reason: str) -> str:
    if not is_plain(reason):
        raise ValueError("not a plain sentence")
    return reason


Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
Protocol = Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)]
Told = Annotated[int, Field(ge=1, le=10_000_000)] | None
StatementNumber = Annotated[int, Field(ge=1, lt=2**53)]


class Offer(Record):
    """The coordinator shows one site the plan of a run; nothing else comes with it.

    Attributes
    ----------
    plan_toml
        The plan in its canonical form.
    bundle_sha256
        Of the bundle that names the installed app for this run.
    """

    protocol: Protocol = PROTOCOL
    run_id: Identifier
    site_id: Identifier
    plan_sha256: Sha256
    plan_toml: str
    bundle_sha256: Sha256


class Verdict(StrEnum):
    """What a site says to a plan."""

    APPROVED = "approved"
    REFUSED = "refused"


class Decision(Record):
    """A site's answer to an offer, for one run under one plan.

    Attributes
    ----------
    actor
        `person:NAME`, `owner` where the site has no named persons, or `policy`.
    reason
        A person's words, for the coordinator to read; empty if there are none. Plain words alone: no path, no
        mail address, no DICOM UID.
    rules
        Names of the rules of the site's policy that the plan breaks.
    decided_at
        Seconds since the Unix epoch.
    """

    protocol: Protocol = PROTOCOL
    number: StatementNumber
    site_id: Identifier
    run_id: Identifier
    plan_sha256: Sha256
    verdict: Verdict
    actor: Annotated[str, Field(pattern=r"^(owner|policy|person:[A-Za-z0-9][A-Za-z0-9._-]{0,62})$")]
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS), AfterValidator(_plain)] = ""
    rules: tuple[RuleName, ...] = ()
    decided_at: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StatedDecision(Record):
    """A decision as it leaves the site: with the signature of the person who took it, if one did.

    The site's own signature, around it, vouches for the person's key.

    Attributes
    ----------
    person_key
        Raw Ed25519 public key, base64; empty if no named person decided.
    person_envelope
        Envelope of the decision's bytes under that key, base64; empty as well then.
    """

    decision: Decision
    person_key: Base64 = ""
    person_envelope: Base64 = ""

    @classmethod
    def of(cls, decision: Decision, key: VerifyKey | None, envelope: Envelope | None) -> StatedDecision:
        """A decision with its person's key and signature."""
        return cls(
            decision=decision,
            person_key=base64.b64encode(key.raw).decode() if key else "",
            person_envelope=base64.b64encode(envelope.to_bytes()).decode() if envelope else "",
        )

    def check_person(self) -> None:
        """Return only if a decision of a named person bears that person's signature over exactly it.

        Raises
        ------
        TrustError
            The signature is missing, of another key, or over something else.
        """
        by_person = self.decision.actor.startswith("person:")
        if not by_person and not self.person_key and not self.person_envelope:
            return
        try:
            key = VerifyKey(base64.b64decode(self.person_key, validate=True))
            envelope = Envelope.from_bytes(base64.b64decode(self.person_envelope, validate=True))
        except binascii.Error as error:
            raise _unsigned() from error
        if not by_person or verify(envelope, DECISION_TYPE, key) != self.decision.to_bytes():
            raise _unsigned()


class Presence(StrEnum):
    """What a site says of itself."""

    PAUSED = "paused"
    RESUMED = "resumed"
    LEFT = "left"


class Notice(Record):
    """A site pauses, resumes, or leaves for good."""

    protocol: Protocol = PROTOCOL
    number: StatementNumber
    site_id: Identifier
    presence: Presence


class GpuModel(Record):
    """A GPU that a site may train on, by its maker's name and its memory."""

    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_plain)]
    memory_gib: Annotated[int, Field(ge=1, le=10_000)] | None


class Situation(Record):
    """What a site tells of itself between runs; nothing, where its policy keeps it or keeps it from now on.

    Attributes
    ----------
    training, validation, test
        Labelled examples in each part as the policy lets counts leave; None where there are too few to be
        told of.
    """

    protocol: Protocol = PROTOCOL
    number: StatementNumber
    site_id: Identifier
    is_told: bool
    training: Told = None
    validation: Told = None
    test: Told = None
    gpus: Annotated[tuple[GpuModel, ...], Field(max_length=64, strict=False)] = ()


def _unsigned() -> TrustError:
    return TrustError(
        "A person's decision does not bear that person's signature.",
        "Decide again at the site, with the person's token.",
    )
