"""One line of a firewall matrix: who may reach whom, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallRule:
    """What must be let through.

    Attributes
    ----------
    source, destination
        Hosts, as the firewall's administrator knows them.
    port
        TCP; as text, for it may be any.
    purpose
        What it is for.
    proof
        By what both ends prove themselves.
    """

    source: str
    destination: str
    port: str
    purpose: str
    proof: str

    def to_json(self) -> dict[str, str]:
        """For machines and tables."""
        return asdict(self)
