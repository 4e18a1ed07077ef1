"""More calls at once than a server has threads."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from shared.transfer.rpc import new_server

NUM_THREADS = 2


@pytest.fixture
def address() -> Iterator[str]:
    """Of a server whose one method takes a while."""

    def answer(request: bytes, _context: grpc.ServicerContext) -> bytes:
        time.sleep(0.02)
        return request

    server = new_server(num_threads=NUM_THREADS)
    handlers = {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("slow", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_calls_beyond_the_threads_wait_for_one_instead_of_being_refused(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/slow/Answer")
        numbers = [str(number).encode() for number in range(10 * NUM_THREADS)]
        open_calls = [call.future(number, timeout=10) for number in numbers]

        assert [one.result() for one in open_calls] == numbers
