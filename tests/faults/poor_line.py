"""A line that loses packets and takes its time: a network namespace whose only way out is two TUN devices.

Between the two this process carries each IP packet by hand: some are lost, all are late. What goes over the
line is TCP between the processes at its ends, which notice nothing but that. (Linux's `netem` does the same,
where the kernel has it.)
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import secrets
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.isolation import why_not as why_no_namespace

TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
ANY_PACKET_BYTES = 1 << 16
LONGEST_REST_S = 0.05


@dataclass(slots=True, kw_only=True)
class PoorLine:
    """A namespace at the other end of a line; changes hold at once.

    Attributes
    ----------
    here, there
        Addresses of the two ends.
    loss
        Share of packets that are lost, each way.
    delay_s
        How late each packet comes, each way.
    num_passed, num_lost
        Packets so far.
    """

    name: str
    here: str
    there: str
    devices: tuple[str, str]
    loss: float = 0.0
    delay_s: float = 0.0
    num_passed: int = 0
    num_lost: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(17))

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, it runs at the other end."""
        return ("ip", "netns", "exec", self.name)

    def limit(self, bits_per_s: int) -> None:
        """Let no more than this pass, each way, by the kernel's token bucket."""
        near, far = self.devices
        bucket = ("root", "tbf", "rate", f"{bits_per_s}bit", "burst", "32kbit", "latency", "400ms")
        _run("tc", "qdisc", "replace", "dev", near, *bucket)
        _run("tc", "-netns", self.name, "qdisc", "replace", "dev", far, *bucket)

    def carry(self, source: int, target: int, done: threading.Event) -> None:
        """Carry packets one way, until told to stop."""
        under_way: list[tuple[float, int, bytes]] = []
        num_read = 0
        while not done.is_set():
            rest_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else LONGEST_REST_S
            if select.select([source], [], [], min(rest_s, LONGEST_REST_S))[0]:
                packet = os.read(source, ANY_PACKET_BYTES)
                if self._random.random() < self.loss:
                    self.num_lost += 1
                else:
                    num_read += 1
                    heapq.heappush(under_way, (time.monotonic() + self.delay_s, num_read, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                os.write(target, heapq.heappop(under_way)[2])
                self.num_passed += 1


def why_not() -> str | None:
    """What keeps this machine from making such a line, or None."""
    if not os.access(TUN, os.R_OK | os.W_OK):
        return "this machine has no TUN devices"
    return why_no_namespace()


@contextlib.contextmanager
def poor_line() -> Iterator[PoorLine]:
    """A namespace whose default route is the line; gone afterwards."""
    tag = secrets.token_hex(3)
    subnet = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    line = PoorLine(
        name=f"mammofed-{tag}",
        here=f"{subnet}.1",
        there=f"{subnet}.2",
        devices=(f"mf{tag}h", f"mf{tag}n"),
    )
    near, far = line.devices
    done = threading.Event()
    with contextlib.ExitStack() as stay:
        ends = [_open_tun(device) for device in line.devices]  # a device is gone when it is closed
        for end in ends:
            stay.callback(os.close, end)
        _run("ip", "netns", "add", line.name)
        stay.callback(_run, "ip", "netns", "delete", line.name)
        _run("ip", "link", "set", far, "netns", line.name)
        _run("ip", "address", "add", f"{line.here}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        for arguments in (
            ("address", "add", f"{line.there}/30", "dev", far),
            ("link", "set", "lo", "up"),
            ("link", "set", far, "up"),
            ("route", "add", "default", "via", line.here),
        ):
            _run("ip", "-netns", line.name, *arguments)
        for source, target in (ends, reversed(ends)):
            thread = threading.Thread(target=line.carry, args=(source, target, done), daemon=True)
            thread.start()
            stay.callback(thread.join)
        stay.callback(done.set)
        yield line


def _open_tun(device: str) -> int:
    end = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return end


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
