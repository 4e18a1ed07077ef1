"""How a site is at a glance: each state, and what is told with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from client.contact import ContactNote
from client.gpus import Gpu, list_gpus
from client.home import SiteHome
from client.metrics import metrics_of
from client.participation import take_part
from client.status import Glance, State
from client.store.clinic import ClinicQueue
from client.store.opening import open_site_store
from client.work import WorkNote, read_work
from client.workplace import Workplace
from shared.errors import HomeError
from shared.files import hold_folder
from shared.records import Occasion, Phase
from tests.unit.client.participation.conftest import MinimalCoordinator

OCCASION = Occasion(
    run_id="run-7",
    plan_sha256="a" * 64,
    round_number=3,
    attempt=1,
    phase=Phase.TRAIN,
    site_id="site-1",
    base_digest="b" * 64,
)
TRANSLATED = "NVIDIA H200, 1024, 143771, 87\nNVIDIA T4, [N/A], 15360, [N/A]\n"


def state_of(home: SiteHome) -> State:
    return Glance(home).look().state


def test_a_mistyped_folder_is_no_site(tmp_path: Path) -> None:
    with pytest.raises(HomeError):
        Glance(SiteHome(tmp_path / "mistyped"))


def test_a_site_that_has_not_joined_says_so(home: SiteHome) -> None:
    home.folder.mkdir()
    home.settings_file.write_text("")

    assert state_of(home) is State.NOT_JOINED


def test_a_member_that_does_not_run_is_stopped_whatever_is_noted(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    ContactNote(home.contact_file).troubled("test", "The coordinator does not answer.")
    with WorkNote(home.work_file).working(OCCASION):
        status = Glance(home).look()

    assert status.state is State.STOPPED
    assert status.work is None
    assert status.troubles == ()


def test_a_running_member_waits_works_pauses_and_is_out_of_touch(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    contact = ContactNote(home.contact_file)
    with hold_folder(home.folder):
        assert state_of(home) is State.OUT_OF_TOUCH
        contact.answered("test")
        assert state_of(home) is State.WAITING
        with WorkNote(home.work_file).working(OCCASION):
            assert state_of(home) is State.WORKING
        assert state_of(home) is State.WAITING
        home.paused_file.touch()
        assert state_of(home) is State.PAUSED


def test_an_answer_a_minute_ago_is_told_as_out_of_touch_with_what_is_in_the_way(
    coordinator: MinimalCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    contact = ContactNote(home.contact_file)
    contact.answered("test")
    contact.troubled("test", "The coordinator does not answer.")
    with hold_folder(home.folder):
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + 61)
        status = Glance(home).look()

    assert status.state is State.OUT_OF_TOUCH
    assert status.troubles == ("The coordinator does not answer.",)
    assert "  ! The coordinator does not answer." in status.lines()


def test_trouble_of_one_thread_stays_until_that_thread_is_answered(home: SiteHome) -> None:
    contact = ContactNote(home.contact_file)
    contact.troubled("upkeep", "The clock is wrong.")
    contact.answered("consent")

    assert "The clock is wrong." in home.contact_file.read_text()

    contact.answered("upkeep")
    assert "The clock is wrong." not in home.contact_file.read_text()


def test_a_disk_that_is_almost_full_and_want_of_memory_are_shown_until_they_are_over(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    contact = ContactNote(home.contact_file)
    contact.note("disk", "The disk has 900 MiB left.")
    contact.note("memory", "The kernel has ended the executor.")
    contact.answered("upkeep")
    with hold_folder(home.folder):
        shown = Glance(home).look().troubles
        contact.note("memory", "")
        left = Glance(home).look().troubles

    assert shown == ("The disk has 900 MiB left.", "The kernel has ended the executor.")
    assert left == ("The disk has 900 MiB left.",)


def test_the_last_contact_outlives_the_service(home: SiteHome) -> None:
    ContactNote(home.contact_file).answered("test")
    before = home.contact_file.read_text()

    ContactNote(home.contact_file).troubled("test", "x")

    assert before.partition('"troubles"')[0] == home.contact_file.read_text().partition('"troubles"')[0]


def test_steps_of_a_training_are_noted_at_most_once_a_second(home: SiteHome) -> None:
    note = WorkNote(home.work_file)
    with note.working(OCCASION):
        for number in range(1, 1000):
            note.step(number, 1000)
        work = read_work(home.work_file)

    assert work is not None
    assert (work.run_id, work.round_number, work.phase) == ("run-7", 3, "train")
    assert work.step < 999
    assert read_work(home.work_file) is None


def test_a_real_round_is_noted_while_it_is_computed_and_in_the_ledger_afterwards(
    coordinator: MinimalCoordinator, workplace: Workplace, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.work.WRITE_EVERY_S", 0.0)
    noted = []
    step = WorkNote.step

    def step_and_read(self: WorkNote, number: int, num_steps: int) -> None:
        step(self, number, num_steps)
        noted.append(read_work(home.work_file))

    monkeypatch.setattr(WorkNote, "step", step_and_read)

    take_part(coordinator.ask(coordinator.announcement()), workplace)

    assert noted
    assert noted[-1] is not None
    assert noted[-1].run_id == "run-1"
    assert noted[-1].step == noted[-1].num_steps
    ledger = Glance(home).look().ledger
    assert ledger.messages >= 2
    assert ledger.size_bytes > 0
    assert ledger.last_at is not None


def test_the_driver_tells_of_gpus_and_of_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{TRANSLATED}'\n".replace("\n'", "\\n'").replace("87\n", "87\\n"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert list_gpus() == [
        Gpu(name="NVIDIA H200", used_mib=1024, total_mib=143771, busy_percent=87),
        Gpu(name="NVIDIA T4", used_mib=None, total_mib=15360, busy_percent=None),
    ]


def test_without_a_driver_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert list_gpus() == []


def test_what_waits_in_the_clinics_node_is_shown_once_there_is_one(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    assert Glance(home).look().clinic is None
    clinic, queue = home.folder / "clinic", ClinicQueue(open_site_store(home.folder))
    clinic.mkdir()
    assert "DICOM node: does not run, nothing waits" in Glance(home).look().lines()

    queue.take_in("exam", "image-1", patient=None, at=time.time() - 600)
    queue.take_in("exam", "image-2", patient=None, at=time.time() - 500)
    with hold_folder(clinic):
        status = Glance(home).look()

    (line,) = (line for line in status.lines() if line.startswith("DICOM node"))
    assert "runs; 2 images wait to be measured, 0 objects for the archive, the first came " in line
    assert "10 min ago" in line
    told = {metric.name: metric.values for metric in metrics_of(status)}
    assert told["mammofed_site_dicom_node_running"] == [({}, 1.0)]
    ((_, since),) = told["mammofed_site_dicom_node_waiting_since_timestamp_seconds"]
    assert time.time() - since == pytest.approx(600, abs=60)
