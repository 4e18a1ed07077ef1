"""What a measurement has started is known by its mark, seen while it runs, and ended with it."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bench.processes import SAMPLING_S, Watch
from deploy.demo.federation import wait_until

SLEEPER = "import time; held = bytearray(50_000_000); time.sleep(60)"
NUM_BYTES = 5_000_000


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_detached_process_is_measured_and_ended_and_a_bystander_is_left_alone(
    bystander: subprocess.Popen[bytes],
) -> None:
    with Watch({"held = bytearray": "sleeper"}) as watch:
        process = subprocess.Popen(
            [sys.executable, "-c", SLEEPER], env={**os.environ, **watch.environment}, start_new_session=True
        )
        wait_until(lambda: watch.peaks.get("sleeper", 0) > 50_000_000, 10, "the sleeper's memory")

    assert process.wait(timeout=5) != 0
    assert bystander.poll() is None


def test_an_interrupted_measurement_ends_what_it_has_started() -> None:
    with pytest.raises(KeyboardInterrupt), Watch({}) as watch:
        process = subprocess.Popen([sys.executable, "-c", SLEEPER], env={**os.environ, **watch.environment})
        raise KeyboardInterrupt

    assert process.wait(timeout=5) != 0


def test_bytes_over_loopback_are_counted_between_two_times() -> None:
    with Watch({}) as watch, socket.create_server(("127.0.0.1", 0)) as server:
        time.sleep(3 * SAMPLING_S)
        before = time.time()
        with socket.create_connection(server.getsockname()) as sender, server.accept()[0] as receiver:
            sender.settimeout(10)
            threading.Thread(target=sender.sendall, args=(bytes(NUM_BYTES),), daemon=True).start()
            received = 0
            while received < NUM_BYTES:
                received += len(receiver.recv(65_536))
            time.sleep(3 * SAMPLING_S)
    assert watch.bytes_between(before - 2 * SAMPLING_S, time.time()) >= NUM_BYTES
    assert watch.bytes_between(time.time() + 1, time.time() + 2) == 0
