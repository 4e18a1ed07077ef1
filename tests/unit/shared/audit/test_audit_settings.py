"""Settings files: a change is told once, by digests."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.store.opening import open_coordinator_store
from shared.audit.events import ConfigurationChanged, PolicyChanged
from shared.audit.log import AuditLog
from shared.audit.settings import note_settings


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(open_coordinator_store(tmp_path))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_told_of_when_it_is_first_seen_and_when_it_has_changed(log: AuditLog) -> None:
    for at, content in enumerate([b"", b"", b"workers = 1", b"workers = 1", b""]):
        note_settings(log, content, subject="site.toml", actor="site-a", at=float(at))

    assert [(line.at_ms, line.details["old_sha256"], line.details["new_sha256"]) for line in log.lines()] == [
        (0, None, sha256(b"")),
        (2000, sha256(b""), sha256(b"workers = 1")),
        (4000, sha256(b"workers = 1"), sha256(b"")),
    ]


def test_files_and_kinds_of_files_do_not_answer_for_each_other(log: AuditLog) -> None:
    note_settings(log, b"a", subject="site.toml", actor="site-a", at=1.0)
    note_settings(log, b"a", subject="policy", event=PolicyChanged, actor="site-a", at=1.0)
    note_settings(log, b"a", subject="policy", event=PolicyChanged, actor="site-a", at=1.0)

    assert [line.name for line in log.lines()] == [ConfigurationChanged.name, PolicyChanged.name]


def test_processes_that_notice_a_change_at_one_time_tell_of_it_once(tmp_path: Path) -> None:
    logs = [AuditLog(open_coordinator_store(tmp_path)) for _ in range(4)]
    contents = [str(number).encode() for number in range(10)]
    together = threading.Barrier(len(logs))

    def notice(log: AuditLog) -> None:
        for content in contents:
            together.wait(30)
            note_settings(log, content, subject="policy", event=PolicyChanged, actor="site-a", at=1.0)

    with ThreadPoolExecutor(len(logs)) as processes:
        list(processes.map(notice, logs))

    assert [line.details["new_sha256"] for line in logs[0].lines()] == list(map(sha256, contents))
