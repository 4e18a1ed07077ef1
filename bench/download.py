"""A model of 500 MB over TLS on loopback: our download beside plain curl from nginx.

`python -m bench.download`: the blob service in a process of its own with mutual TLS 1.3, and `BlobClient` as
`mammofed-site model pull` uses it, which hashes every byte, syncs the file to the disk and renames it; nginx
with the same certificate, and curl into a file. Both write beside each other on one disk. curl's file is
hashed by `sha256sum` in a second figure, for nothing that is not verified is used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo.federation import free_ports
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.rpc import open_channel
from shared.trust.issuing import Issuer, new_root, new_server_certificate, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import mutual_channel_credentials

LOOPBACK = "127.0.0.1"
MB = 1_000_000
AIM = 0.9
"""Of curl's speed."""
AT_ONCE = 8
"""Downloads for the figure of memory."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.download")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5, help="of each, in turn; the median is told")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), given.megabytes) as server:
        seconds: dict[str, list[float]] = {"ours": [], "curl": [], "curl and sha256sum": []}
        for _ in range(given.repeat):
            seconds["ours"].append(server.fetch())
            alone, hashed = server.curl()
            seconds["curl"].append(alone)
            seconds["curl and sha256sum"].append(hashed)
        print(f"{given.megabytes} MB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        for name, each in seconds.items():
            told = ", ".join(f"{one:.2f}" for one in sorted(each))
            print(
                f"{name}: {given.megabytes / medians[name]:.0f} MB/s, median {medians[name]:.2f} s of {told}"
            )
        for other in ("curl", "curl and sha256sum"):
            print(f"ours has {medians[other] / medians['ours']:.0%} of the speed of {other}; aim {AIM:.0%}")
        before, peak = server.fetch_many(AT_ONCE)
        print(f"serving process: {before:.0f} MiB, while {AT_ONCE} sites download at once {peak:.0f} MiB")


class Server:
    """Both servers over one file."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        self._megabytes = megabytes
        self._key = TlsKey.generate()
        self._root = new_root(federation_name="Bench", key=self._key, now=time.time())
        self._chain_key = TlsKey.generate()
        self._chain = new_server_certificate(
            hosts=[LOOPBACK],
            key=self._chain_key,
            issuer=Issuer(certificate_pem=self._root, key=self._key),
            root_pem=self._root,
            now=time.time(),
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Server:
        self._port = free_ports(2)
        serving = BlobStore(self._folder / "serving")
        self._ref = _fill(serving, self._megabytes)
        for name, content in (("root.pem", self._root), ("chain.pem", self._chain)):
            (self._folder / name).write_bytes(content)
        self._chain_key.save(self._folder / "chain.key")
        ours = [sys.executable, "-m", "bench.download_server", str(self._folder), str(self._port)]
        self._process = self._stack.enter_context(_running(ours))
        self._stack.enter_context(_running(self._nginx(serving.path(self._ref.digest))))
        _wait_for_ports(self._port, self._port + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fetch(self, name: str = "site") -> float:
        """Seconds of our download."""
        target = self._folder / name
        key = TlsKey.generate()
        credentials = mutual_channel_credentials(
            root_pem=self._root,
            certificate_pem=new_site_certificate(
                csr_pem=new_csr(key),
                site_id=name,
                issuer=Issuer(certificate_pem=self._root, key=self._key),
                now=time.time(),
            ),
            key=key,
        )
        began = time.perf_counter()
        with open_channel(f"{LOOPBACK}:{self._port}", credentials) as channel:
            BlobClient(channel).fetch(self._ref, BlobStore(target))
        seconds = time.perf_counter() - began
        shutil.rmtree(target)
        return seconds

    def curl(self) -> tuple[float, float]:
        """Seconds of curl, and with sha256sum after it."""
        file = self._folder / "curl"
        url = f"https://{LOOPBACK}:{self._port + 1}/model"
        began = time.perf_counter()
        root = self._folder / "root.pem"
        subprocess.run(["curl", "-sSf", "--cacert", root, "--tlsv1.3", "-o", file, url], check=True)
        alone = time.perf_counter() - began
        hashed = subprocess.run(["sha256sum", file], check=True, capture_output=True).stdout.split()[0]
        seconds = time.perf_counter() - began
        assert hashed.decode() == self._ref.digest
        file.unlink()
        return alone, seconds

    def fetch_many(self, number: int) -> tuple[float, float]:
        """Resident MiB of the serving process before, and at most while so many sites download at once."""
        before = _peak_mib(self._process.pid)
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(self.fetch, [f"site-{place}" for place in range(number)]))
        return before, _peak_mib(self._process.pid)

    def _nginx(self, file: Path) -> list[str]:
        served = self._folder / "served"
        served.mkdir()
        (served / "model").symlink_to(file)
        config = self._folder / "nginx.conf"
        config.write_text(f"""
daemon off; worker_processes 1; pid {self._folder}/nginx.pid; error_log stderr; user root;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; default_type application/octet-stream;
  server {{
    listen {LOOPBACK}:{self._port + 1} ssl;
    ssl_certificate {self._folder}/chain.pem; ssl_certificate_key {self._folder}/chain.key;
    ssl_protocols TLSv1.3;
    root {served};
  }}
}}
""")
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-p", str(self._folder)]


def _fill(store: BlobStore, megabytes: int) -> BlobRef:
    with store.draft() as path:
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(MB))
        return store.put_draft(path)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for_ports(*ports: int) -> None:

    deadline = time.monotonic() + 60
    for port in ports:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
                break
            if time.monotonic() > deadline:
                raise SystemExit("A server does not come up.")
            time.sleep(0.05)


def _peak_mib(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
