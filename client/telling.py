"""Telling the coordinator what was decided here, in words for the person who has decided it."""

from __future__ import annotations

from dataclasses import dataclass

from client.consenting import Consenting
from client.standing import RevokedError
from shared.errors import TrustError, UnreachableError

LATER = "The coordinator does not answer now; the running site tells it as soon as it does."


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Whether the coordinator knows.

    Attributes
    ----------
    error
        Why it will not take what this site says; None if it has taken it, or does not answer now.
    """

    told: bool
    error: TrustError | None = None

    @property
    def note(self) -> str:
        """What a person should know beside the result; empty if the coordinator knows."""
        if self.error is not None:
            return f"{self.error.message} {self.error.hint}"
        return "" if self.told else LATER

    @property
    def is_revoked(self) -> bool:
        """Whether the coordinator has answered that this site is no member any more."""
        return isinstance(self.error, RevokedError)


def tell(consenting: Consenting, *, run_id: str | None = None) -> Telling:
    """Say what is owed.

    Parameters
    ----------
    run_id
        Of the plan that was decided on; None for a word on the whole site.
    """
    try:
        refused = consenting.deliver()
    except UnreachableError:
        return Telling(told=False)
    except TrustError as error:
        return Telling(told=False, error=error)
    if run_id in refused:
        return Telling(
            told=False,
            error=TrustError(
                "The coordinator has refused to take what this site says; it holds at this site alone.",
                "Look at `plans`, decide again, and call the coordinator if it recurs.",
            ),
        )
    return Telling(told=True)
