"""The coordinator's opened home: registers, blobs and the signing key, as the rounds need them."""

from __future__ import annotations

from dataclasses import dataclass

from server.home import CoordinatorHome
from server.store import Events, Federation, Models, Runs, open_coordinator_store
from shared.transfer.blob_store import BlobStore
from shared.trust.keys import SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """Everything that the coordinator keeps, opened."""

    name: str
    federation: Federation
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
            runs=Runs(engine),
            models=Models(engine),
            events=Events(engine),
            blobs=BlobStore(home.blobs),
            signing_key=SigningKey.load(home.signing_key_file),
        )
