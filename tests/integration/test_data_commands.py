"""What `mammofed-site data` says at the terminal when something is not as it should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from client.cli_pacs import _show_batch
from client.intake.candidates import Refusal
from client.intake.exclusions import Reason
from client.intake.importer import ImportReport
from deploy.demo.phantoms import GE, write_hospital
from shared.errors import HomeError
from shared.terminal import Output

SITE = Path(sys.executable).with_name("mammofed-site")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "hospital"
    list(write_hospital(folder, vendor=GE, patients=3, seed=5, density_mix={"b": 1.0}, spacing_mm=0.5))
    return folder


def data(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SITE, "data", *map(str, words), "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    "words", [("report",), ("verify",), ("remove", "--patient", "1"), ("forget", "--yes")]
)
def test_a_mistyped_home_is_told_and_not_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = data(tmp_path / "typo", *words)
    assert ended.returncode == HomeError.exit_code
    assert ended.stderr.startswith("Error: There is no site in this home folder.")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("words", [("report",), ("add", ".")])
def test_a_home_that_is_a_file_is_two_lines_that_do_not_name_it(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    home = tmp_path / "afile"
    home.touch()
    ended = data(home, *words)
    assert ended.returncode == HomeError.exit_code
    assert len(ended.stderr.splitlines()) == 2
    assert "afile" not in ended.stdout + ended.stderr


def test_a_withdrawal_that_finds_nobody_is_loud(hospital: Path, tmp_path: Path) -> None:
    assert data(tmp_path, "add", hospital).returncode == 0
    patient = dcmread(min((hospital / "images").iterdir())).PatientID
    assert "WARNING: no example was removed." in data(tmp_path, "remove", "--patient", f"{patient}0").stdout
    told = data(tmp_path, "remove", "--patient", f"{patient} ").stdout
    assert "2 examples of 1 patients are gone." in told
    assert "WARNING" not in told


def test_an_interrupted_import_says_what_is_in(hospital: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [SITE, "data", "add", hospital, "--home", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("examples/*.shard")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "The import did not end; what came in before stays:" in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reception_gives_reasons_and_sends_nobody_to_files_that_are_gone(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    refusals = (Refusal.of(1, Reason.UNDECODABLE), Refusal.of(2, Reason.IMPLANT))
    _show_batch(Output(as_json), ImportReport(kind="DICOM files", added=3, refusals=refusals))
    told = capsys.readouterr().out
    if as_json:
        (line,) = told.splitlines()
        values = json.loads(line)
        assert (values["added"], values["quarantined"], values["excluded"]) == (
            3,
            {"undecodable": 1},
            {"implant": 1},
        )
    else:
        assert "1 quarantined (undecodable)" in told
        assert "1 excluded (implant)" in told
        assert "incoming/quarantined" in told
        assert "data locate" not in told
