"""Why a coordinator refuses to enrol: stable words on the wire, sentences for the person who joins."""

from __future__ import annotations

from enum import StrEnum

from shared.errors import EnrolmentError, TokenError


class Refusal(StrEnum):
    """Reason word, sent as the detail of a gRPC status; never renamed."""

    UNKNOWN_TOKEN = "unknown-token"  # noqa: S105 - a reason word
    USED_TOKEN = "used-token"  # noqa: S105 - a reason word
    EXPIRED_TOKEN = "expired-token"  # noqa: S105 - a reason word
    REVOKED_TOKEN = "revoked-token"  # noqa: S105 - a reason word
    NAME_TAKEN = "name-taken"
    PENDING = "pending-approval"
    REJECTED = "rejected"
    PROTOCOL = "protocol"
    MALFORMED = "malformed"
    NO_POSSESSION = "no-possession"


_ERRORS: dict[Refusal, tuple[type[EnrolmentError], str, str]] = {
    Refusal.UNKNOWN_TOKEN: (
        TokenError,
        "The coordinator does not know this invitation.",
        "Ask for a new one; this may be of another federation or from before a restore.",
    ),
    Refusal.USED_TOKEN: (
        TokenError,
        "This invitation was already used.",
        "If it was not you who used it, tell the coordinator at once; else ask for a new one.",
    ),
    Refusal.EXPIRED_TOKEN: (TokenError, "This invitation has expired.", "Ask for a new one."),
    Refusal.REVOKED_TOKEN: (TokenError, "This invitation was withdrawn.", "Ask for a new one."),
    Refusal.NAME_TAKEN: (
        EnrolmentError,
        "Another site of this federation has this name.",
        "Ask the coordinator for an invitation under another name.",
    ),
    Refusal.PENDING: (
        EnrolmentError,
        "The coordinator has not approved this site yet.",
        "Tell the coordinator the fingerprint of this site's keys, and join again with the same invitation.",
    ),
    Refusal.REJECTED: (
        EnrolmentError,
        "The coordinator has rejected this site.",
        "Call the coordinator; to try again, use a new invitation and a new home folder.",
    ),
    Refusal.PROTOCOL: (
        EnrolmentError,
        "The coordinator speaks another version of the enrolment protocol.",
        "Install the version of mammofed that the coordinator runs.",
    ),
    Refusal.MALFORMED: (
        EnrolmentError,
        "The coordinator could not read the keys of this site.",
        "Check that both sides run the same version, make new keys and join again.",
    ),
    Refusal.NO_POSSESSION: (
        EnrolmentError,
        "The coordinator could not verify that this site holds its private keys.",
        "Check that the key files of this home belong together, or join with a new home.",
    ),
}


def refusal_error(refusal: Refusal) -> EnrolmentError:
    """The error that a refused person sees."""
    kind, message, hint = _ERRORS[refusal]
    return kind(message, hint)
