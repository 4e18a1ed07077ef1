"""Who did what: every command that changes something leaves a line with its person, and numbers alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydicom import dcmread

from deploy.demo.phantoms import GE, write_hospital
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import RunState
from server.store import Run
from shared.errors import EmptySourceError
from tests.unit.shared.persons.sides import SideAtTerminal, sides


@pytest.fixture
def coordinator(tmp_path: Path) -> SideAtTerminal:
    return next(each for each in sides(tmp_path) if each.role == "coordinator")


@pytest.fixture
def site(tmp_path: Path) -> SideAtTerminal:
    return next(each for each in sides(tmp_path) if each.role == "site")


def ada_of(side: SideAtTerminal) -> str:
    token: str = side.call("user", "add", "ada", "--role", "administrator")["token"]
    return token


def deeds_of_ada(side: SideAtTerminal) -> list[tuple[str, dict[str, object]]]:
    return [(line.name, dict(line.details)) for line in side.open().log.lines() if line.actor == "person:ada"]


def test_what_a_person_does_with_data_is_in_the_sites_log_as_numbers(
    site: SideAtTerminal, tmp_path: Path
) -> None:
    ada = ada_of(site)
    hospital = tmp_path / "hospital"
    images = list(
        write_hospital(hospital, vendor=GE, patients=2, seed=1, density_mix={"b": 1.0}, spacing_mm=0.5)
    )
    patient = str(dcmread(images[0].image_path).PatientID)

    site.call("data", "add", str(hospital), token=ada)
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "values.toml").write_bytes((hospital / "masks" / "values.toml").read_bytes())
    uid = dcmread(images[0].image_path).SOPInstanceUID
    (masks / f"{uid}.png").write_bytes(images[0].mask_path.read_bytes())
    site.call("data", "masks", "add", str(masks), "--annotator", "ab", token=ada)
    site.call("data", "report", token=ada)
    site.call("data", "report", "--page", str(tmp_path / "page.html"), token=ada)
    site.call("data", "remove", "--patient", patient, token=ada)
    site.call("data", "forget", "--yes", token=ada)

    assert deeds_of_ada(site) == [
        ("data.imported", {"num_examples": len(images), "num_masks": 0, "num_left_out": 0}),
        ("masks.added", {"num_masks": 1, "num_unmatched": 0, "num_refused": 0}),
        ("report.written", {"num_examples": len(images)}),
        ("data.removed", {"num_patients": 1, "num_examples": len(images) // 2}),
        ("data.removed", {"num_patients": 1, "num_examples": len(images) // 2}),
    ]


def test_a_source_without_images_leaves_no_line(site: SideAtTerminal, tmp_path: Path) -> None:
    ada = ada_of(site)
    (tmp_path / "empty").mkdir()

    with pytest.raises(EmptySourceError):
        site.call("data", "add", str(tmp_path / "empty"), token=ada)

    assert deeds_of_ada(site) == []


def test_what_a_person_decides_about_sites_is_in_the_coordinators_log(coordinator: SideAtTerminal) -> None:
    ada = ada_of(coordinator)

    coordinator.call("site", "invite", "aarhus", token=ada)
    coordinator.call("site", "withdraw", "aarhus", token=ada)

    assert [name for name, _ in deeds_of_ada(coordinator)] == ["site.invited", "site.withdrawn"]


def test_a_run_that_fails_says_why_and_who_had_started_it(coordinator: SideAtTerminal) -> None:
    opened = Coordinator.open(CoordinatorHome(coordinator.home))
    now = time.time()
    run = Run(
        run_id="run-1",
        name="density",
        plan_sha256="a" * 64,
        plan_toml="",
        state=RunState.SUBMITTED,
        created_at=now,
    )
    opened.runs.submit(run, actor="person:ada")
    opened.runs.move("run-1", RunState.FAILED, at=now, failure="Too few sites answered.")

    submitted, failed = coordinator.call("audit", "show", "--event", "run")
    assert (submitted["actor"], submitted["event"]) == ("person:ada", "run.submitted")
    assert failed["details"] == {"reason": "Too few sites answered."}
