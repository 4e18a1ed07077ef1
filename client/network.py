"""The site's firewall matrix and its sheet for IT, from its configuration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from urllib.parse import urlsplit

from client.gpus import list_gpus
from client.home import SiteHome
from client.policy.reading import read_policy
from client.preflight import MIN_FREE_BYTES
from client.reachability import own_address
from shared.it_sheet.firewall import FirewallRule
from shared.it_sheet.sheet import ItSheet, Point
from shared.trust.certificates import expires_at
from shared.trust.tls import split_address

HTTPS, HTTP = 443, 80


def firewall_matrix(home: SiteHome) -> Iterator[FirewallRule]:
    """What must be let through for this site, line by line.

    Raises
    ------
    HomeError
        The site has not joined: only its invitation knows where the coordinator is.
    ConfigError
        Its settings cannot be used.
    """
    membership, settings, proxy = home.membership(), home.settings(), home.proxy()
    services = {
        membership.fleet_address: ("control messages", "TLS 1.3; the site's node key"),
        membership.transfer_address: ("models, renewal, decisions", "TLS 1.3; certificates on both sides"),
    }
    for address, (purpose, proof) in services.items():
        host, port = split_address(address)
        if proxy is not None and proxy.serves(host):
            own = own_address(proxy.host, proxy.port)
            yield _rule(own, proxy.host, proxy.port, f"{purpose}, by CONNECT to {address}", proof)
            yield _rule(proxy.address, host, port, f"{purpose}, passed on by the proxy", proof)
        else:
            yield _rule(own_address(host, port), host, port, purpose, proof)
    for name, pacs in settings.pacs.items():
        proof = "DICOM over TLS" if pacs.tls else "addresses and AE titles; DICOM in plain text"
        yield _rule(own_address(pacs.host, pacs.port), pacs.host, pacs.port, f"archive '{name}'", proof)
    for name, web in settings.dicomweb.items():
        parts = urlsplit(web.url)
        host, port = parts.hostname or "", parts.port or (HTTPS if parts.scheme == "https" else HTTP)
        yield _rule(own_address(host, port), host, port, f"archive '{name}'", parts.scheme.upper())
    if (node := settings.dicom_node) is not None:
        proof = "DICOM over TLS" if node.tls else "addresses and AE titles; DICOM in plain text"
        yield _rule("the peers of [dicom_node]", node.address, node.port, "images that they send here", proof)


def it_sheet(home: SiteHome, *, at: datetime) -> ItSheet:
    """Firewall matrix and checklist of this site. Raises as `firewall_matrix`, and PolicyFileError."""
    membership = home.membership()
    return ItSheet(
        title=f"mammofed {version('mammofed')}",
        side=f"site '{membership.site_name}' of '{membership.coordinator_name}'",
        at=at,
        rules=tuple(firewall_matrix(home)),
        points=tuple(_points(home)),
    )


def _points(home: SiteHome) -> Iterator[Point]:
    membership, settings, policy = home.membership(), home.settings(), read_policy(home.policy_file)
    hosts = sorted(
        {split_address(each)[0] for each in (membership.fleet_address, membership.transfer_address)}
    )
    gpus = ", ".join(gpu.name for gpu in list_gpus()) or "none that NVIDIA's driver tells of"
    disk, ends = shutil.disk_usage(home.folder), expires_at(membership.certificate_pem)
    yield Point(
        what="The firewall lets through what page 1 says, outbound.", now="`mammofed-site check` looks"
    )
    yield Point(what="TLS inspection is off for these hosts.", now=", ".join(hosts))
    yield Point(what="Names resolve and the clock follows NTP.", now="`check` compares the clock")
    yield Point(
        what="The outbound proxy lets CONNECT pass.",
        now=settings.proxy.url if settings.proxy else "no proxy is set",
    )
    yield Point(
        what="A GPU with driver; `device` says where to train.", now=f"{gpus}; device = {settings.device}"
    )
    yield Point(
        what=f"Disk for data and models, {MIN_FREE_BYTES >> 30} GiB free at the least; encrypted.",
        now=f"{disk.free / 2**30:.0f} of {disk.total / 2**30:.0f} GiB free; examples "
        + ("sealed by this software too" if settings.intake.encrypted else "NOT sealed by this software"),
    )
    yield Point(what="Memory and cores for training.", now=f"{_memory_gib():.0f} GiB, {os.cpu_count()} cores")
    yield Point(
        what="The service runs under a user of its own and starts with the machine.",
        now="`systemctl status mammofed-site`; docs/install.md",
    )
    yield Point(what="Mammograms can be read by that user.", now="`mammofed-site data report`")
    yield Point(
        what="The certificate renews itself while the site runs.",
        now=f"valid until {datetime.fromtimestamp(ends).astimezone():%Y-%m-%d}",
    )
    yield Point(
        what="Somebody approves plans, and policy.toml says what may leave.",
        now=f"approval: {policy.approval}",
    )
    yield Point(
        what="The home is in the house's backup, as its data are.", now="keys need none: a site joins anew"
    )
    yield Point(what="Whom to call: the coordinator's contact, and ours.", now="")
    yield Point(what="Everything is green.", now="`mammofed-site check`, then `mammofed-site status`")


def _rule(source: str, host: str, port: int, purpose: str, proof: str) -> FirewallRule:
    return FirewallRule(source=source, destination=host, port=str(port), purpose=purpose, proof=proof)


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
