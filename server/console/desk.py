"""Where persons sign in and out.

A password is tried in this order, so that neither answer nor time tells whether the name is anybody's:

1. tries of the address, of the name and of both together are taken first, so that those that come at once
   count too;
2. the password is hashed, against nobody's where the name has none;
3. a code of the second factor is asked for where the person has one;
4. a new key is drawn: one that the browser brought along is never taken over, and its sign-in ends.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import NoReturn

from server.console.attempts import Attempts
from server.console.passwords import is_right, nobodys
from server.console.second_step import SecondStep
from server.store.sign_ins import Passwords, SignIns
from shared.errors import TrustError
from shared.persons.acting import Actor
from shared.persons.person import NAME

KEY_BYTES = 32
QUARTER_S = 900.0
TRIES_OF_NAME_AND_ADDRESS = 5
TRIES_OF_ADDRESS = 20
TRIES_OF_NAME = 25


class NotLetInError(TrustError):
    """The sign-in is refused."""


class Desk:
    """Lets persons in.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    """

    def __init__(
        self,
        passwords: Passwords,
        sign_ins: SignIns,
        second: SecondStep,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._passwords = passwords
        self._sign_ins = sign_ins
        self._second = second
        self._clock = clock
        self._of_address = Attempts(TRIES_OF_ADDRESS, QUARTER_S)
        self._of_name = Attempts(TRIES_OF_NAME, QUARTER_S)
        self._of_both = Attempts(TRIES_OF_NAME_AND_ADDRESS, QUARTER_S)
        self._told = Attempts(1, QUARTER_S)
        nobodys()

    def sign_in(self, name: str, password: str, code: str = "", *, address: str, brought: str = "") -> str:
        """The key of a new sign-in.

        Parameters
        ----------
        code
            Of the second factor; empty where there is none.
        address
            Where the request comes from.
        brought
            The key that the browser had, whose sign-in ends.

        Raises
        ------
        NotLetInError
            Name, password and code do not belong together, or there were too many tries.
        """
        self.prove(name, password, code, address=address)
        return self.let_in(name, brought=brought)

    def let_in(self, name: str, *, brought: str) -> str:
        """The key of a new sign-in of somebody proven to be this person. Raises TrustError if disabled."""
        # 4.
        self.sign_out(brought)
        key = secrets.token_urlsafe(KEY_BYTES)
        self._sign_ins.begin(name, key_hash=_hash(key), at=self._clock())
        return key

    def prove(self, name: str, password: str, code: str, *, address: str) -> None:
        """Return only if name, password and code belong together. Raises NotLetInError, see `sign_in`."""
        now = self._clock()
        # 1.
        counts = [(self._of_address, address)]
        if NAME.fullmatch(name):
            counts += [(self._of_both, f"{name} {address}"), (self._of_name, name)]
        for count, key in counts:
            if not count.take(key, now=now):
                if self._told.take(key, now=now):  # one line, however many come
                    self._sign_ins.note_refusal(name, "too-many", at=now)
                raise NotLetInError(
                    "There were too many tries.", f"Try again in {QUARTER_S / 60:.0f} minutes."
                )
        # 2.
        if not is_right(password, self._passwords.of(name)):
            self._refuse(name, "password", now)
        # 3.
        if not self._second.passes(name, code, now=now):
            self._refuse(name, "code", now)
        for count, key in counts:
            count.give_back(key)

    def note_refusal(self, cause: str) -> None:
        """Write down that somebody was not let in who did not say as whom."""
        self._sign_ins.note_refusal("", cause, at=self._clock())

    def _refuse(self, name: str, cause: str, now: float) -> NoReturn:
        self._sign_ins.note_refusal(name, cause, at=now)
        raise NotLetInError(
            "Name, password and code do not belong together.",
            "Without a second factor the code stays empty. A password is set with `mammofed-coordinator "
            "user password`, under your own token.",
        )

    def who(self, key: str) -> Actor | None:
        """Who acts by a key; None if nobody does any more."""
        return self._sign_ins.find(_hash(key), at=self._clock())

    def sign_out(self, key: str) -> None:
        """End a key's sign-in, if it has one."""
        self._sign_ins.end(_hash(key), at=self._clock())


def _hash(key: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()
