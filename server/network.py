"""The coordinator's firewall matrix and its sheet for IT, from its settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from server.home import CoordinatorHome, CoordinatorSettings
from shared.it_sheet.firewall import FirewallRule
from shared.it_sheet.sheet import ItSheet, Point
from shared.proxy import is_loopback
from shared.trust.certificates import expires_at

SITES = "the sites"


def firewall_matrix(settings: CoordinatorSettings) -> Iterator[FirewallRule]:
    """What must reach the coordinator, and whom its settings let it ask and tell; nothing else goes out."""
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
    if settings.console_port is not None and not is_loopback(settings.console_listen):
        yield FirewallRule(
            source="browsers of the coordinator's persons",
            destination=settings.host,
            port=str(settings.console_port),
            purpose="the web console",
            proof="TLS 1.3; a person's password",
        )
    if settings.metrics is not None and not is_loopback(settings.metrics.listen):
        yield FirewallRule(
            source="the Prometheus of the house",
            destination=settings.host,
            port=str(settings.metrics.port),
            purpose="figures for monitoring",
            proof="TLS 1.3; a certificate of the authority in `client_ca_file`",
        )
    if settings.alerts.mail is not None:
        yield FirewallRule(
            source="the coordinator",
            destination=settings.alerts.mail.host,
            port=str(settings.alerts.mail.port),
            purpose="alerts by e-mail",
            proof=f"SMTP, {settings.alerts.mail.security}; the server's certificate, a password if it asks",
        )
    if settings.alerts.webhook is not None:
        proof = "the receiver's certificate; a signature in each message"
        yield _to(settings.alerts.webhook.url, "alerts by webhook", proof)
    if settings.single_sign_on is not None:
        proof = "the provider's certificate; a secret of the coordinator's if it asks"
        yield _to(settings.single_sign_on.issuer, "sign-ins to the console by OpenID Connect", proof)
    if settings.traces is not None:
        proof = "the collector's certificate; a token if it asks"
        yield _to(settings.traces.endpoint, "traces of runs", proof)
    if settings.database_file is not None:
        yield FirewallRule(
            source="the coordinator",
            destination="the host of `database_file`",
            port="as it says",
            purpose="state in PostgreSQL",
            proof="as its address says",
        )


def _to(url: str, purpose: str, proof: str) -> FirewallRule:
    address = urlsplit(url)
    return FirewallRule(
        source="the coordinator",
        destination=address.hostname or "",
        port=str(address.port or (443 if address.scheme == "https" else 80)),
        purpose=purpose,
        proof=proof,
    )


def it_sheet(home: CoordinatorHome, *, at: datetime) -> ItSheet:
    """Firewall matrix and checklist of this coordinator.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    ConfigError
        Its settings cannot be used.
    """
    settings = home.settings()
    return ItSheet(
        title=f"mammofed {version('mammofed')}",
        side=f"coordinator of '{settings.name}'",
        at=at,
        rules=tuple(firewall_matrix(settings)),
        points=tuple(_points(home, settings)),
    )


def _points(home: CoordinatorHome, settings: CoordinatorSettings) -> Iterator[Point]:
    hosts = sorted({settings.fleet[0], settings.enrolment[0], settings.transfer[0]})
    disk = shutil.disk_usage(home.folder)
    root_ends, server_ends = _end_of(home.root_certificate_file), _end_of(home.tls_chain_file)
    issuer = home.keys.issuer_certificate
    yield Point(
        what="Firewalls let through what page 1 says, inbound.", now=f"listeners bind {settings.listen}"
    )
    yield Point(what="Names lead to this host, from outside too.", now=", ".join(hosts))
    yield Point(
        what="Nothing in front ends TLS: no reverse proxy, no inspecting firewall.",
        now="one port by server names (SNI)" if settings.front else "each listener at its own port",
    )
    yield Point(what="The clock follows NTP.", now="runs wait while it is wrong")
    yield Point(
        what="Disk for weights and models, 1 GiB free at the least; encrypted with the machine.",
        now=f"{disk.free / 2**30:.0f} of {disk.total / 2**30:.0f} GiB free",
    )
    yield Point(
        what="The state is where it is to be.",
        now="SQLite in the home" if settings.database_file is None else "PostgreSQL by `database_file`",
    )
    yield Point(
        what="The service runs under a user of its own and starts with the machine.",
        now="`systemctl status mammofed-coordinator`; docs/install.md",
    )
    yield Point(
        what="A backup every day; its passphrase is kept elsewhere.", now="`mammofed-coordinator backup FILE`"
    )
    yield Point(what="A restore was rehearsed.", now="`mammofed-coordinator restore FILE --home NEW`")
    yield Point(
        what="The root's key is kept where no network is.",
        now="it is" if issuer.exists() else "not yet: `mammofed-coordinator keys take-root-offline FILE`",
    )
    yield Point(
        what="The end of the root, and of an issuer in its place, is in the calendar.",
        now=f"root until {root_ends}" + (f", issuer until {_end_of(issuer)}" if issuer.exists() else ""),
    )
    yield Point(what="The listeners' certificate renews itself at a start.", now=f"until {server_ends}")
    yield Point(
        what="Certificates of sites renew themselves.", now=f"they live {settings.site_certificate_days} days"
    )
    yield Point(what="Persons have names, tokens and roles.", now="`mammofed-coordinator user list`")
    yield Point(what="Whom to call: our contact, and each hospital's.", now="")


def _end_of(certificate: Path) -> str:
    return f"{datetime.fromtimestamp(expires_at(certificate.read_bytes())).astimezone():%Y-%m-%d}"
