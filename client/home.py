"""The site's home folder, its settings and its membership."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from client.enrolment import Membership
from client.settings import SiteSettings
from shared.errors import ConfigError, HomeError, StoreError, TrustError
from shared.files import write_file
from shared.proxy import Proxy
from shared.tables import read_table
from shared.trust.anchors import Anchors

STORE_FILE = "site.db"
LOOPBACK = "127.0.0.1"
"""Where the SuperNode serves the executor; nothing else may be chosen."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The private keys of one generation: they are made together, and replaced together."""

    folder: Path

    @property
    def tls(self) -> Path:
        """Private key of the site's certificate."""
        return self.folder / "tls.key"

    @property
    def signing(self) -> Path:
        """Ed25519 key that signs contributions."""
        return self.folder / "signing.key"

    @property
    def node(self) -> Path:
        """Flower's node key."""
        return self.folder / "node.key"


@dataclass(frozen=True, slots=True)
class SiteHome:
    """Where the site's files stand."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Settings, TOML; may be absent."""
        return self.folder / "site.toml"

    @property
    def store_file(self) -> Path:
        """Database of the catalog."""
        return self.folder / STORE_FILE

    @property
    def models(self) -> Path:
        """Folder of the models that were pulled, each in a folder of its own."""
        return self.folder / "models"

    @property
    def membership_file(self) -> Path:
        """What the site knows of its federation, JSON."""
        return self.folder / "membership.json"

    @property
    def root_certificate_file(self) -> Path:
        """The federation's root certificates, PEM."""
        return self.folder / "keys" / "root.crt"

    @property
    def tls_key_file(self) -> Path:
        """Private key of the site's certificate."""
        return self._current_keys().tls

    @property
    def signing_key_file(self) -> Path:
        """Ed25519 key that signs contributions."""
        return self._current_keys().signing

    @property
    def node_key_file(self) -> Path:
        """Flower's node key."""
        return self._current_keys().node

    @property
    def runtime_secret_file(self) -> Path:
        """Secret with which the executor takes tasks from the SuperNode."""
        return self.folder / "keys" / "runtime.secret"

    @property
    def policy_file(self) -> Path:
        """What the hospital lets happen here, TOML; may be absent."""
        return self.folder / "policy.toml"

    @property
    def paused_file(self) -> Path:
        """Stands here as long as the site is paused."""
        return self.folder / "paused"

    @property
    def work_file(self) -> Path:
        """What the training process is at, as a note."""
        return self.folder / "work.json"

    @property
    def contact_file(self) -> Path:
        """When the coordinator last answered the running site, as a note."""
        return self.folder / "contact.json"

    @property
    def links(self) -> Path:
        """Folder of the links to the running site's page."""
        return self.folder / "links"

    @property
    def approved_bundles_file(self) -> Path:
        """SHA-256 of the bundles that may name the installed app, one a line."""
        return self.folder / "approved-bundles.txt"

    @property
    def blobs(self) -> Path:
        """Folder of the blob store."""
        return self.folder / "blobs"

    @property
    def rounds(self) -> Path:
        """Folder of what the site keeps of its rounds."""
        return self.folder / "rounds"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    @property
    def flower(self) -> Path:
        """Flower's own folder; disposable."""
        return self.folder / "flower"

    def keys(self, generation: int) -> KeyFiles:
        """The private keys that go with a membership of this generation; 0 is the one that has joined."""
        folder = self.folder / "keys"
        return KeyFiles(folder / str(generation) if generation else folder)

    def _current_keys(self) -> KeyFiles:
        return self.keys(self.membership().key_generation if self.has_joined() else 0)

    def is_in_use(self) -> bool:
        """Whether it holds a site: settings, a membership or data."""
        return any(file.exists() for file in (self.settings_file, self.membership_file, self.store_file))

    def check_in_use(self) -> None:
        """Refuse a folder that holds no site, such as one whose name was mistyped.

        Raises
        ------
        HomeError
            It holds none.
        """
        if not self.is_in_use():
            raise HomeError(
                "There is no site in this home folder.",
                "Check --home or MAMMOFED_HOME; `data add`, `pull` or `receive`, or `join`, begins one.",
            )

    def settings(self) -> SiteSettings:
        """Read the settings.

        Raises
        ------
        ConfigError
            A setting is unknown or out of range.
        HomeError
            The settings cannot be read.
        """
        try:
            text = self.settings_file.read_bytes()
        except FileNotFoundError:
            return SiteSettings()
        except OSError as error:
            raise HomeError(
                "The home is not a folder whose settings can be read.",
                "Name another home or correct its permissions.",
            ) from error
        return read_table(SiteSettings, text, what="site.toml", error=ConfigError)

    def proxy(self) -> Proxy | None:
        """The proxy on the way to the coordinator, with its credentials; None if there is none.

        Raises
        ------
        ConfigError, HomeError
            The settings or the file with the credentials cannot be used.
        """
        settings = self.settings().proxy
        return None if settings is None else settings.read(self.folder)

    def approved_bundles(self) -> frozenset[str]:
        """The bundles on the site's list, hex SHA-256; none if there is no list."""
        try:
            lines = self.approved_bundles_file.read_text().splitlines()
        except FileNotFoundError:
            return frozenset()
        return frozenset(line.split()[0] for line in lines if line.strip() and not line.startswith("#"))

    def has_joined(self) -> bool:
        """Whether the site is a member of a federation."""
        return self.membership_file.exists()

    def write_membership(self, membership: Membership) -> None:
        """Keep a membership; what it needs to be one is written before it."""
        write_file(self.root_certificate_file, membership.anchors.bundle_pem)
        document = {
            "site_id": membership.site_id,
            "site_name": membership.site_name,
            "certificate_pem": membership.certificate_pem.decode(),
            "anchors": membership.anchors.to_bytes().decode(),
            "coordinator_name": membership.coordinator_name,
            "fleet_address": membership.fleet_address,
            "transfer_address": membership.transfer_address,
            "key_generation": membership.key_generation,
            "told_version": membership.told_version,
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
                anchors=Anchors.from_bytes(document["anchors"].encode()),
                coordinator_name=document["coordinator_name"],
                fleet_address=document["fleet_address"],
                transfer_address=document["transfer_address"],
                key_generation=int(document["key_generation"]),
                told_version=str(document.get("told_version", "")),
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HomeError(
                "This site has not joined a federation.", "Run `mammofed-site join TOKEN` first."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, TrustError) as error:
            raise StoreError(
                "The site's membership file is damaged.", "Restore it from a backup, or join again."
            ) from error


def default_home() -> Path:
    """`$MAMMOFED_HOME`, or a folder in the person's own home."""
    chosen = os.environ.get("MAMMOFED_HOME")
    return Path(chosen) if chosen else Path.home() / ".mammofed-site"
