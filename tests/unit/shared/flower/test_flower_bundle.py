"""The Flower app bundle of a run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tomllib
import zipfile

import pytest

import shared.flower.bundle
from shared.flower.bundle import RUN_SETTING, build_bundle, bundle_sha256
from shared.flower.environment import flower_environment
from shared.record import PROTOCOL


def files_of(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_bundle_holds_no_code() -> None:
    files = files_of(build_bundle())

    kinds = {name.rpartition(".")[2] for name in files}
    assert "py" not in kinds
    assert {name for name in files if not name.startswith(".info/")} == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert not any(b"import " in content for content in files.values())


def test_the_bundle_names_the_installed_components_and_one_setting() -> None:
    document = tomllib.loads(files_of(build_bundle())["pyproject.toml"].decode())

    app = document["tool"]["flwr"]["app"]
    assert document["project"]["version"] == f"{PROTOCOL}.0.0"
    assert app["components"]["clientapp"].startswith("client.")
    assert app["components"]["serverapp"].startswith("server.")
    assert app["config"] == {RUN_SETTING: ""}


def test_both_sides_compute_the_same_bundle_in_another_process_at_another_time() -> None:
    program = (
        "import time; time.time = lambda: 2e9\n"
        "from shared.flower.bundle import *\nprint(bundle_sha256(build_bundle()))"
    )

    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "17", "TZ": "Pacific/Auckland", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert other.stdout.strip() == bundle_sha256(build_bundle())


def test_neighbouring_versions_have_the_same_bundle_and_another_protocol_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for installed, protocol in (("9.4.0", 7), ("9.5.1", 7), ("9.5.1", 8)):
        versions = {"mammofed": installed, "flwr": "1.41.0"}
        monkeypatch.setattr(shared.flower.bundle, "version", versions.__getitem__)
        monkeypatch.setattr(shared.flower.bundle, "PROTOCOL", protocol)
        made.append(build_bundle.__wrapped__())

    assert made[0] == made[1]
    assert made[1] != made[2]


def test_a_changed_byte_is_another_bundle() -> None:
    bundle = build_bundle()

    assert bundle_sha256(bundle[:-1] + bytes([bundle[-1] ^ 1])) != bundle_sha256(bundle)


def test_flower_calls_nobody_and_installs_nothing(tmp_path) -> None:
    environment = flower_environment(tmp_path)

    assert environment["FLWR_HOME"] == str(tmp_path)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert environment["PYTHONSAFEPATH"] == "1"
