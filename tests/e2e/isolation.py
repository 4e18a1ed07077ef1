"""A network namespace whose only route ends here, and a witness of every packet that leaves it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

ETH_P_ALL = 3
ETHERTYPES = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP"}
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
CAPTURE_BYTES = 64 << 20
ANY_PACKET_BYTES = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace that sees this machine as its only neighbour.

    Attributes
    ----------
    name
        For `ip netns exec`.
    device
        This machine's end of the line.
    here, there
        Addresses of the two ends.
    """

    name: str
    device: str
    here: str
    there: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, it runs inside."""
        return ("ip", "netns", "exec", self.name)


def why_not() -> str | None:
    """What keeps this machine from making namespaces, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    probe = f"mammofed-probe-{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "this machine does not let network namespaces be made"
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)
    return None


@contextlib.contextmanager
def isolated() -> Iterator[Namespace]:
    """A namespace with one line to here, which is its default route and its name server; gone afterwards."""
    tag = secrets.token_hex(3)
    subnet = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    made = Namespace(name=f"mammofed-{tag}", device=f"mf{tag}h", here=f"{subnet}.1", there=f"{subnet}.2")
    inside = f"mf{tag}n"
    resolver = Path("/etc/netns") / made.name
    try:
        _ip("netns", "add", made.name)
        _ip("link", "add", made.device, "type", "veth", "peer", "name", inside, "netns", made.name)
        _ip("address", "add", f"{made.here}/30", "dev", made.device)
        _ip("link", "set", made.device, "up")
        for arguments in (
            ("address", "add", f"{made.there}/30", "dev", inside),
            ("link", "set", "lo", "up"),
            ("link", "set", inside, "up"),
            ("route", "add", "default", "via", made.here),
        ):
            _ip("-netns", made.name, *arguments)
        resolver.mkdir(parents=True)
        (resolver / "resolv.conf").write_text(f"nameserver {made.here}\n")
        yield made
    finally:
        shutil.rmtree(resolver, ignore_errors=True)
        for arguments in (("link", "delete", made.device), ("netns", "delete", made.name)):
            subprocess.run(["ip", *arguments], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a packet went: protocol, address, port (0 where there is none)."""

    protocol: str
    address: str
    port: int


@dataclass(slots=True, kw_only=True)
class PacketWitness:
    """Counts every packet that comes out of a namespace, by destination."""

    namespace: Namespace
    bytes_to: dict[Destination, int] = field(default_factory=dict)
    missed: int = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[PacketWitness]:
        """Watch the line until the block is left."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as line:
            line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, CAPTURE_BYTES)
            line.bind((self.namespace.device, ETH_P_ALL))
            line.settimeout(0.2)
            done = threading.Event()
            thread = threading.Thread(target=self._watch, args=(line, done), name="packets", daemon=True)
            thread.start()
            try:
                yield self
            finally:
                done.set()
                thread.join()
                self.missed = struct.unpack("II", line.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]

    def _watch(self, line: socket.socket, done: threading.Event) -> None:
        while True:
            try:
                packet, (_, _, kind, *_) = line.recvfrom(ANY_PACKET_BYTES)
            except TimeoutError:
                if done.is_set():
                    return
                continue
            except OSError:  # the line is gone
                return
            if kind != PACKET_OUTGOING:
                destination = destination_of(packet)
                self.bytes_to[destination] = self.bytes_to.get(destination, 0) + len(packet)


def destination_of(packet: bytes) -> Destination:
    """Where an Ethernet frame goes (RFC 791, RFC 8200)."""
    kind = ETHERTYPES.get(struct.unpack_from("!H", packet, 12)[0], "other")
    if kind == "IPv4":
        number, address = packet[23], str(IPv4Address(packet[30:34]))
        transport_at = 14 + 4 * (packet[14] & 15)
    elif kind == "IPv6":
        number, address, transport_at = packet[20], str(IPv6Address(packet[38:54])), 54
        if number == 0:  # hop-by-hop options, as before multicast listener reports
            number, transport_at = packet[54], 54 + 8 * (packet[55] + 1)
    else:
        return Destination(kind, "", 0)
    protocol = PROTOCOLS.get(number, "other")
    port = struct.unpack_from("!H", packet, transport_at + 2)[0] if protocol in {"TCP", "UDP"} else 0
    return Destination(protocol, address, port)
