"""The coordinator's home folder and its settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tomli_w
from pydantic import Field, SecretStr

from server.database import read_address
from server.front import FrontSettings
from server.monitoring.settings import AlertSettings, MetricsSettings, TracesSettings
from server.single_sign_on import SingleSignOnSettings
from shared.display_name import DisplayName
from shared.errors import ConfigError, HomeError
from shared.files import sync_folder, write_file
from shared.protection.organisation import OrganisationSettings
from shared.supplements import SupplementKind
from shared.tables import Table, read_table

LOOPBACK = "127.0.0.1"
"""Where the private listener is; nothing else may be chosen."""

Port = Annotated[int, Field(ge=1, le=65535)]

ExportForm = Literal["torch", "onnx", "monai"]
"""A form in which a model is published beside its weights; `server/exports.py` makes them."""


class CoordinatorSettings(Table):
    """What `coordinator.toml` holds.

    Attributes
    ----------
    name
        Shown to the hospitals.
    host
        Host name or address that the sites use.
    listen
        Address that the three public listeners bind.
    fleet_port, enrolment_port, transfer_port
        Public listeners: Flower's Fleet API, joining, blobs.
    control_port
        Private listener on loopback: Flower's Control and Runtime APIs.
    console_listen, console_port
        Address and port of the web console; without a port there is none.
    front
        One port for all three, told apart by names; without it, sites use the listeners' own.
    site_certificate_days
        How long a site's certificate lives; a running site renews it after two thirds of that.
    database_file
        File with the address of a database in PostgreSQL; left out, the state is in SQLite in the home.
    alerts
        What is watched, and who is told.
    metrics
        The page for Prometheus; left out, there is none.
    single_sign_on
        A provider of OpenID Connect that opens the console too; left out, there is none.
    traces
        A collector that traces of runs are sent to; left out, none are made.
    organisation
        Who answers for the data; for the data-protection pack alone.
    exports
        Forms in which models are published beside their weights: `torch`, `onnx`, `monai`.
    checkpoints
        Which checkpoints of finished runs are kept: all, or the last, from which a run can be extended. The
        files of every published model are kept in any case.
    release_needs
        Signed supplements without which no model is released: all, unless the federation wants fewer.
    """

    name: DisplayName
    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    listen: str = "127.0.0.1"
    fleet_port: Port = 8443
    enrolment_port: Port = 8444
    transfer_port: Port = 8445
    control_port: Port = 8446
    console_listen: str = LOOPBACK
    console_port: Port | None = None
    front: FrontSettings | None = None
    site_certificate_days: Annotated[int, Field(ge=1, le=397)] = 30
    database_file: Annotated[str, Field(min_length=1)] | None = None
    alerts: AlertSettings = AlertSettings()
    metrics: MetricsSettings | None = None
    single_sign_on: SingleSignOnSettings | None = None
    traces: TracesSettings | None = None
    organisation: OrganisationSettings = OrganisationSettings()
    exports: Sequence[ExportForm] = ()
    checkpoints: Literal["all", "last"] = "all"
    release_needs: Sequence[Annotated[SupplementKind, Field(strict=False)]] = tuple(SupplementKind)

    @property
    def console_address(self) -> str:
        """Where the console answers, as a browser on this machine has it; on another one by `host`."""
        return f"https://{self.host}:{self.console_port}/"

    @property
    def fleet(self) -> tuple[str, int]:
        """Host and port at which sites reach Flower's Fleet API."""
        return (self.front.fleet, self.front.port) if self.front else (self.host, self.fleet_port)

    @property
    def enrolment(self) -> tuple[str, int]:
        """Host and port at which sites join."""
        return (self.front.enrolment, self.front.port) if self.front else (self.host, self.enrolment_port)

    @property
    def transfer(self) -> tuple[str, int]:
        """Host and port at which sites move blobs, renew and decide on plans."""
        return (self.front.transfer, self.front.port) if self.front else (self.host, self.transfer_port)


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """One version of the coordinator's keys and certificates."""

    KEPT: ClassVar = (
        *("root.key", "root.crt", "cross.crt", "issuer.key", "issuer.crt"),
        *("tls.key", "tls.crt", "signing.key"),
    )
    """What the next version has too, unless it is what changes; some may be missing."""

    folder: Path

    @property
    def root_key(self) -> Path:
        """Private key of the root certificate."""
        return self.folder / "root.key"

    @property
    def root_certificate(self) -> Path:
        """The root certificate, PEM."""
        return self.folder / "root.crt"

    @property
    def issuer_key(self) -> Path:
        """Private key that signs in the root's place; there only while the root's own is offline."""
        return self.folder / "issuer.key"

    @property
    def issuer_certificate(self) -> Path:
        """The issuer's certificate, by the root, PEM."""
        return self.folder / "issuer.crt"

    @property
    def cross_certificate(self) -> Path:
        """The root's key certified by the root before it, PEM; there only while that one is believed too."""
        return self.folder / "cross.crt"

    @property
    def tls_key(self) -> Path:
        """Private key of the listeners."""
        return self.folder / "tls.key"

    @property
    def tls_chain(self) -> Path:
        """Certificate of the listeners, up to the root, PEM."""
        return self.folder / "tls.crt"

    @property
    def signing_key(self) -> Path:
        """Ed25519 key that signs announcements and models."""
        return self.folder / "signing.key"

    @property
    def statement(self) -> Path:
        """What sites are told of this version; the first has none."""
        return self.folder / "anchors.json"


@dataclass(frozen=True, slots=True)
class CoordinatorHome:
    """Where the coordinator's files stand."""

    folder: Path

    @property
    def settings_file(self) -> Path:
        """Settings, TOML."""
        return self.folder / "coordinator.toml"

    @property
    def keys(self) -> KeyFolder:
        """The keys that are in force."""
        return self.key_folders()[-1]

    @property
    def root_key_file(self) -> Path:
        """Private key of the federation's root certificate."""
        return self.keys.root_key

    @property
    def root_certificate_file(self) -> Path:
        """The federation's root certificate, PEM."""
        return self.keys.root_certificate

    @property
    def tls_key_file(self) -> Path:
        """Private key of the listeners."""
        return self.keys.tls_key

    @property
    def tls_chain_file(self) -> Path:
        """Certificate of the listeners and the root, PEM."""
        return self.keys.tls_chain

    @property
    def signing_key_file(self) -> Path:
        """Ed25519 key that signs announcements and models."""
        return self.keys.signing_key

    @property
    def control_token_file(self) -> Path:
        """Bearer token of Flower's Control API."""
        return self.folder / "keys" / "control.token"

    @property
    def second_factor_key_file(self) -> Path:
        """Key that persons' second factors are sealed with; made at the first of them."""
        return self.folder / "keys" / "second-factors.key"

    @property
    def runtime_secret_file(self) -> Path:
        """Secret with which the runner takes tasks from Flower's Runtime API."""
        return self.folder / "keys" / "runtime.secret"

    @property
    def blobs(self) -> Path:
        """Folder of the blob store."""
        return self.folder / "blobs"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    @property
    def flower(self) -> Path:
        """Flower's own folder; disposable."""
        return self.folder / "flower"

    def key_folders(self) -> list[KeyFolder]:
        """A folder for each version of the keys, from the founding on; only the last holds private keys."""
        folders = [KeyFolder(self.folder / "keys")]
        while (following := self._key_folder(len(folders) + 1)).folder.is_dir():
            folders.append(following)
        return folders

    def keys_in_the_making(self) -> KeyFolder:
        """Where the next keys are made before they are in force."""
        return KeyFolder(self.folder / "keys" / "next")

    def put_in_force(self, making: KeyFolder) -> None:
        """Let the keys that were made be those of now, in one step."""
        making.folder.rename(self._key_folder(len(self.key_folders()) + 1).folder)
        sync_folder(self.folder / "keys")

    def _key_folder(self, version: int) -> KeyFolder:
        return KeyFolder(self.folder / "keys" / str(version))

    def settings(self) -> CoordinatorSettings:
        """Read the settings.

        Raises
        ------
        HomeError
            The folder is not a coordinator's home.
        ConfigError
            A setting is unknown or out of range.
        """
        try:
            text = self.settings_file.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HomeError(
                "This folder is not a coordinator's home.", "Run `mammofed-coordinator init` first."
            ) from error
        return read_table(CoordinatorSettings, text, what="coordinator.toml", error=ConfigError)

    def database(self, settings: CoordinatorSettings) -> SecretStr | None:
        """Address of the database in PostgreSQL; None if the state is in SQLite in this folder.

        Raises
        ------
        ConfigError
            The file that the settings name is not usable.
        """
        return None if settings.database_file is None else read_address(self.folder / settings.database_file)

    def write_settings(self, settings: CoordinatorSettings) -> None:
        """Write the settings file."""
        write_file(self.settings_file, tomli_w.dumps(settings.model_dump(exclude_none=True)).encode())


def default_home() -> Path:
    """`$MAMMOFED_HOME`, or a folder in the person's own home."""
    chosen = os.environ.get("MAMMOFED_HOME")
    return Path(chosen) if chosen else Path.home() / ".mammofed-coordinator"
