"""What every test leaves as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """A command line that is called in this process makes new files its owner's alone."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
