"""The coordinator's firewall matrix, from its settings."""

from __future__ import annotations

from collections.abc import Iterator

from server.home import CoordinatorSettings
from shared.firewall import FirewallRule

SITES = "the sites"


def firewall_matrix(settings: CoordinatorSettings) -> Iterator[FirewallRule]:
    """What must reach the coordinator, line by line; nothing goes out from it by itself."""
    proofs = {
        "fleet": (settings.fleet, "control messages", "TLS 1.3; the site's node key"),
        "enrolment": (settings.enrolment, "joining", "TLS 1.3; a one-time invitation"),
        "transfer": (settings.transfer, "models, renewal, decisions", "TLS 1.3; certificates on both sides"),
    }
    for (host, port), purpose, proof in proofs.values():
        yield FirewallRule(source=SITES, destination=host, port=str(port), purpose=purpose, proof=proof)
    if settings.front is not None:
        for port in (settings.fleet_port, settings.enrolment_port, settings.transfer_port):
            yield FirewallRule(
                source="the front",
                destination=settings.listen,
                port=str(port),
                purpose="TLS passed on by name",
                proof="as above: the front ends no TLS",
            )
    if settings.database_file is not None:
        yield FirewallRule(
            source="the coordinator",
            destination="the host of `database_file`",
            port="as it says",
            purpose="state in PostgreSQL",
            proof="as its address says",
        )
