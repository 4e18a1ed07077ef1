"""The Flower app bundle of a run, which holds no code.

Flower ships a bundle to every node of a run. Ours names the components and one setting, the run id; the
components themselves are the ones installed at each side. Its bytes depend on the protocol and on Flower
alone, so that both sides can compute its SHA-256 and a site can refuse any other.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version

from flwr.cli.build import build_fab_from_files

from shared.record import PROTOCOL

RUN_SETTING = "mammofed-run"

_README = b"The run names components that are installed at each side. This bundle holds no code.\n"
_LICENSE = b"Apache-2.0\n"
_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "mammofed"
version = "{version}"
description = "Names the installed components"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={flower}"]

[tool.flwr.app]
publisher = "mammofed"
fab-format-version = 1
flwr-version-target = "{flower}"
fab-include = ["/README.md", "/LICENSE"]

[tool.flwr.app.components]
serverapp = "server.flower.runner:serve"
clientapp = "client.flower.app:make_app"

[tool.flwr.app.config]
{setting} = ""
"""


@functools.cache
def build_bundle() -> bytes:
    """The bundle of the installed version: same protocol, same bytes."""
    pyproject = _PYPROJECT.format(version=f"{PROTOCOL}.0.0", flower=version("flwr"), setting=RUN_SETTING)
    files = {"pyproject.toml": pyproject.encode(), "README.md": _README, "LICENSE": _LICENSE}
    return build_fab_from_files(files)[0]


def bundle_sha256(content: bytes) -> str:
    """Hex SHA-256 of a bundle's content, as sites keep it on their allow-list."""
    return hashlib.sha256(content).hexdigest()
