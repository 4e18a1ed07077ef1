"""The coordinator's opened home: registers, blobs and the signing key, as the rounds need them."""

from __future__ import annotations

from dataclasses import dataclass

from server.enrolment import CoordinatorIdentity
from server.home import CoordinatorHome
from server.store import Events, Federation, Models, Runs, open_coordinator_store
from server.store.applications import Applications
from server.store.memberships import Memberships
from shared.transfer.blob_store import BlobStore
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import join_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """Everything that the coordinator keeps, opened."""

    name: str
    federation: Federation
    applications: Applications
    memberships: Memberships
    runs: Runs
    models: Models
    events: Events
    blobs: BlobStore
    signing_key: SigningKey

    def kept_digests(self) -> frozenset[str]:
        """The coordinator's own blobs: plans, weights of rounds, files of published models."""
        return self.runs.digests() | self.models.digests()

    @classmethod
    def open(cls, home: CoordinatorHome) -> Coordinator:
        """Open a home folder.

        Raises
        ------
        HomeError
            The folder is not a coordinator's home.
        StoreError
            Its database cannot be opened.
        TrustError
            Its signing key cannot be read.
        """
        settings = home.settings()
        engine = open_coordinator_store(home.folder)
        return cls(
            name=settings.name,
            federation=Federation(engine),
            applications=Applications(engine),
            memberships=Memberships(engine),
            runs=Runs(engine),
            models=Models(engine),
            events=Events(engine),
            blobs=BlobStore(home.blobs),
            signing_key=SigningKey.load(home.signing_key_file),
        )


def identity_of(home: CoordinatorHome) -> CoordinatorIdentity:
    """What enrolled sites learn of this home's coordinator, with the key that issues their certificates.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    TrustError
        A key of it cannot be read.
    """
    settings = home.settings()
    return CoordinatorIdentity(
        name=settings.name,
        signing_key=SigningKey.load(home.signing_key_file).verify_key,
        root_pem=home.root_certificate_file.read_bytes(),
        fleet_address=join_address(settings.host, settings.fleet_port),
        transfer_address=join_address(settings.host, settings.transfer_port),
        certificate_days=settings.site_certificate_days,
        root_key=TlsKey.load(home.root_key_file),
    )
