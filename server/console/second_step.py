"""Whether a person has shown their second factor, and how one comes into force."""

from __future__ import annotations

from server.console import second_factor
from server.store.second_factors import SecondFactors
from shared.errors import TrustError


class SecondStep:
    """Holds codes against the register."""

    def __init__(self, factors: SecondFactors) -> None:
        self._factors = factors

    def passes(self, name: str, code: str, *, now: float) -> bool:
        """Whether a person whose password was right gets in: no code is due, or this is one, used hereby."""
        factor = self._factors.of(name)
        if factor is None or not factor.is_confirmed:
            return True
        step = second_factor.matching_step(factor.secret, code, now=now, after=factor.last_step)
        if step is not None:
            return self._factors.use_step(name, step)
        return self._factors.use_recovery_code(name, second_factor.hash_of(code), at=now)

    def confirm(self, name: str, code: str, *, actor: str, now: float) -> list[str]:
        """Let a second factor be asked for, of which this is a code.

        Returns
        -------
        Recovery codes, which nobody can be shown again.

        Raises
        ------
        TrustError
            None was begun, or the code is not of it.
        """
        factor = self._factors.of(name)
        if factor is None or factor.is_confirmed:
            raise TrustError("No second factor was begun.", "Begin with it anew.")
        step = second_factor.matching_step(factor.secret, code, now=now, after=factor.last_step)
        if step is None:
            raise TrustError(
                "That is not the code of now.", "Check the clock of the telephone, and begin with it anew."
            )
        codes = second_factor.new_recovery_codes()
        hashes = [second_factor.hash_of(each) for each in codes]
        self._factors.confirm(name, step=step, recovery_hashes=hashes, actor=actor, at=now)
        return codes
