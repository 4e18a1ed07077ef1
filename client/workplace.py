"""Opening a site's home for taking part in rounds."""

from __future__ import annotations

from client.catalog import MIGRATIONS, STORE_FILE, Catalog
from client.egress import Egress
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
    engine = open_store(sqlite_url(home.folder / STORE_FILE), MIGRATIONS)
    blobs = BlobStore(home.blobs)
    credentials = mutual_channel_credentials(
        root_pem=membership.root_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.tls_key_file),
    )
    return Workplace(
        membership=membership,
        catalog=Catalog(engine, home.folder),
        blobs=blobs,
        transfer=BlobClient(open_channel(membership.transfer_address, credentials)),
        egress=Egress(ledger=Ledger(engine), blobs=blobs, signing_key=SigningKey.load(home.signing_key_file)),
        device=choose_device(home.settings().device),
    )
