"""The site's home folder, its settings and its membership."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from client.enrolment import Membership
from client.settings import SiteSettings
from shared.errors import ConfigError, HomeError, StoreError
from shared.files import write_file
from shared.tables import read_table
from shared.trust.keys import VerifyKey

LOOPBACK = "127.0.0.1"
"""Where the SuperNode serves the executor; nothing else may be chosen."""


@dataclass(frozen=True, slots=True)
class SiteHome:
    """Where the site's files stand."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Settings, TOML; may be absent."""
        return self.folder / "site.toml"

    @property
    def membership_file(self) -> Path:
        """What the site knows of its federation, JSON."""
        return self.folder / "membership.json"

    @property
    def root_certificate_file(self) -> Path:
        """The federation's root certificate, PEM."""
        return self.folder / "keys" / "root.crt"

    @property
    def tls_key_file(self) -> Path:
        """Private key of the site's certificate."""
        return self.folder / "keys" / "tls.key"

    @property
    def signing_key_file(self) -> Path:
        """Ed25519 key that signs contributions."""
        return self.folder / "keys" / "signing.key"

    @property
    def node_key_file(self) -> Path:
        """Flower's node key."""
        return self.folder / "keys" / "node.key"

    @property
    def runtime_secret_file(self) -> Path:
        """Secret with which the executor takes tasks from the SuperNode."""
        return self.folder / "keys" / "runtime.secret"

    @property
    def approved_bundles_file(self) -> Path:
        """SHA-256 of the bundles that may name the installed app, one a line."""
        return self.folder / "approved-bundles.txt"

    @property
    def blobs(self) -> Path:
        """Folder of the blob store."""
        return self.folder / "blobs"

    @property
    def incoming(self) -> Path:
        """Private folder of what is being fetched or received; emptied by each import."""
        return self.folder / "incoming"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    @property
    def flower(self) -> Path:
        """Flower's own folder; disposable."""
        return self.folder / "flower"

    def settings(self) -> SiteSettings:
        """Read the settings.

        Raises
        ------
        ConfigError
            A setting is unknown or out of range.
        """
        try:
            text = self.settings_file.read_bytes()
        except FileNotFoundError:
            return SiteSettings()
        return read_table(SiteSettings, text, what="site.toml", error=ConfigError)

    def has_joined(self) -> bool:
        """Whether the site is a member of a federation."""
        return self.membership_file.exists()

    def write_membership(self, membership: Membership) -> None:
        """Keep a membership; what it needs to be one is written before it."""
        write_file(self.root_certificate_file, membership.root_pem)
        document = {
            "site_id": membership.site_id,
            "site_name": membership.site_name,
            "certificate_pem": membership.certificate_pem.decode(),
            "root_pem": membership.root_pem.decode(),
            "coordinator_name": membership.coordinator_name,
            "coordinator_key": base64.b64encode(membership.coordinator_key.raw).decode(),
            "fleet_address": membership.fleet_address,
            "transfer_address": membership.transfer_address,
        }
        write_file(self.membership_file, json.dumps(document, indent=2).encode())

    def membership(self) -> Membership:
        """Read the membership.

        Raises
        ------
        HomeError
            The site has not joined.
        StoreError
            The file is damaged.
        """
        try:
            document = json.loads(self.membership_file.read_text())
            return Membership(
                site_id=document["site_id"],
                site_name=document["site_name"],
                certificate_pem=document["certificate_pem"].encode(),
                root_pem=document["root_pem"].encode(),
                coordinator_name=document["coordinator_name"],
                coordinator_key=VerifyKey(base64.b64decode(document["coordinator_key"])),
                fleet_address=document["fleet_address"],
                transfer_address=document["transfer_address"],
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HomeError(
                "This site has not joined a federation.", "Run `mammofed-site join TOKEN` first."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                "The site's membership file is damaged.", "Restore it from a backup, or join again."
            ) from error


def default_home() -> Path:
    """`$MAMMOFED_HOME`, or a folder in the person's own home."""
    chosen = os.environ.get("MAMMOFED_HOME")
    return Path(chosen) if chosen else Path.home() / ".mammofed-site"
