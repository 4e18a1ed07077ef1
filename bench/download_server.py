"""What `bench.download` fetches from: the blob service, by `python -m bench.download_server FOLDER PORT`."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from shared.transfer.blob_store import BlobStore
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.keys import TlsKey
from shared.trust.tls import mutual_server_credentials


class Everybody:
    """Lets every site fetch everything."""

    def is_active(self, site_id: str) -> bool:
        """Yes."""
        return bool(site_id)

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Yes."""
        return bool(site_id and digest)

    def may_send(self, site_id: str, digest: str, size_bytes: int) -> bool:
        """Nothing is sent here."""
        return False


def main() -> None:
    """Serve until told to stop."""
    folder = Path(sys.argv[1])
    credentials = mutual_server_credentials(
        chain_pem=(folder / "chain.pem").read_bytes(),
        key=TlsKey.load(folder / "chain.key"),
        root_pem=(folder / "root.pem").read_bytes(),
    )
    service = TransferService(BlobStore(folder / "serving"), Everybody())
    server, _ = serve_blobs(
        service, host="127.0.0.1", port=int(sys.argv[2]), credentials=credentials, num_threads=32
    )
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    server.stop(None)


if __name__ == "__main__":
    main()
