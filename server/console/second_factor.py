"""The second factor of a sign-in: codes that change twice a minute (TOTP, RFC 6238), and recovery codes.

`pyotp` makes the codes, `segno` draws what a telephone photographs.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import string

import pyotp
import segno

STEP_S = 30
STEPS_OFF = 1
"""By so many steps the clock of a telephone may be wrong (RFC 6238, section 5.2)."""

NUM_RECOVERY_CODES = 10
_LETTERS = string.ascii_lowercase.translate(str.maketrans("", "", "il")) + "23456789"
_GROUPS, _GROUP_LETTERS = 4, 4


def new_secret() -> str:
    """160 random bits in base32, as RFC 4226 recommends them."""
    return pyotp.random_base32()


def address_of(secret: str, *, name: str, federation: str) -> str:
    """The `otpauth:` address of a secret, by which an authenticator takes it."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=federation)


def matching_step(secret: str, code: str, *, now: float, after: int) -> int | None:
    """The step of time whose code this is, among those of now that were not used yet; None if there is none.

    Parameters
    ----------
    now
        Seconds since the Unix epoch.
    after
        The last step whose code was used.
    """
    typed, totp = "".join(code.split()), pyotp.TOTP(secret)
    current = int(now // STEP_S)
    found = None
    for step in range(current - STEPS_OFF, current + STEPS_OFF + 1):  # always all of them
        is_same = hmac.compare_digest(totp.generate_otp(step).encode(), typed.encode())
        found = step if is_same and step > after else found
    return found


def new_recovery_codes() -> list[str]:
    """Codes of 80 bits each; every one stands in for the second factor once."""
    return [
        "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LETTERS)) for _ in range(_GROUPS))
        for _ in range(NUM_RECOVERY_CODES)
    ]


def hash_of(recovery_code: str) -> str:
    """What is kept of a recovery code, however it was typed; 80 random bits need no slow hash."""
    plain = "".join(letter for letter in recovery_code.lower() if letter in _LETTERS)
    return hashlib.sha256(plain.encode()).hexdigest()


def picture_of(address: str) -> str:
    """An address as a QR code, black on white in every scheme: SVG without any style."""
    return segno.make(address, error="m").svg_inline(scale=5, border=4, light="white")


def drawing_of(address: str) -> str:
    """The same for a terminal."""
    text = io.StringIO()
    segno.make(address, error="l").terminal(out=text, compact=True, border=2)
    return text.getvalue()
