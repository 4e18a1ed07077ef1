"""Opening a site's home for taking part in rounds."""

from __future__ import annotations

from dataclasses import replace

from client.catalog import MIGRATIONS, STORE_FILE, Catalog
from client.egress import Egress
from client.enrolment import Membership
from client.home import SiteHome
from client.participation import Workplace
from client.store.ledger import Ledger
from client.training.device import choose_device
from shared.store import open_store, sqlite_url
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.rpc import open_channel
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import mutual_channel_credentials


def open_workplace(home: SiteHome) -> Workplace:
    """Open a home that has joined.

    Raises
    ------
    HomeError
        The site has not joined.
    StoreError, TrustError, ConfigError
        Its database, keys or settings cannot be used.
    """
    membership = home.membership()
    keys = home.keys(membership.key_generation)
    engine = open_store(sqlite_url(home.folder / STORE_FILE), MIGRATIONS)
    blobs = BlobStore(home.blobs)
    return Workplace(
        membership=membership,
        catalog=Catalog(engine, home.folder),
        blobs=blobs,
        transfer=_connect(home, membership),
        egress=Egress(ledger=Ledger(engine), blobs=blobs, signing_key=SigningKey.load(keys.signing)),
        device=choose_device(home.settings().device),
    )


def follow_membership(workplace: Workplace, home: SiteHome) -> None:
    """Go on with the certificate and keys of a membership that was renewed; to be called between messages.

    Raises
    ------
    HomeError, StoreError, TrustError
        Membership or keys cannot be read; the workplace stays as it is.
    """
    membership = home.membership()
    if membership == workplace.membership:
        return
    signing_key = SigningKey.load(home.keys(membership.key_generation).signing)
    workplace.transfer = _connect(home, membership)
    workplace.egress = replace(workplace.egress, signing_key=signing_key)
    workplace.membership = membership


def _connect(home: SiteHome, membership: Membership) -> BlobClient:
    credentials = mutual_channel_credentials(
        root_pem=membership.root_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.keys(membership.key_generation).tls),
    )
    return BlobClient(open_channel(membership.transfer_address, credentials))
