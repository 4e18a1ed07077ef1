"""A disk that is full, for as long as a block lasts."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def disk_that_holds(size_bytes: int) -> Iterator[None]:
    """The operating system refuses to let this process write any file beyond this size.

    Never as a fixture: between a test and its fixtures pytest writes its report, to a file for all we know.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
