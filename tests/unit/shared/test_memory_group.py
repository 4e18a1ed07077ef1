"""The kernel's word on memory, from folders that look like cgroups of version 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.memory_group import MemoryGroup, own_group

EVENTS = "low 0\nhigh 812\nmax 40\noom 3\noom_kill {}\noom_group_kill 0\n"


def test_it_counts_the_killed_and_knows_the_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text(EVENTS.format(2))
    (tmp_path / "memory.max").write_text("17179869184\n")

    assert (MemoryGroup(tmp_path).num_killed, MemoryGroup(tmp_path).limit_bytes) == (2, 16 * 2**30)


@pytest.mark.parametrize(
    "held", [{}, {"memory.events": "low 0\n", "memory.max": "max\n"}, {"memory.events": "x"}]
)
def test_a_group_that_says_nothing_has_killed_nobody_and_has_no_limit(
    held: dict[str, str], tmp_path: Path
) -> None:
    for name, text in held.items():
        (tmp_path / name).write_text(text)

    assert (MemoryGroup(tmp_path).num_killed, MemoryGroup(tmp_path).limit_bytes) == (0, None)


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ("0::/system.slice/mammofed-site.service\n", "system.slice/mammofed-site.service"),
        ("0::/\n", "."),
        ("12:memory:/docker/1f\n0::/docker/1f\n", "docker/1f"),
        ("3:memory:/user.slice\n", "."),
    ],
)
def test_the_own_group_is_the_one_of_version_2(own: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(own)

    assert own_group(own=tmp_path / "cgroup", mounted_at=tmp_path).folder == tmp_path / place


def test_without_a_word_on_its_group_there_is_still_one(tmp_path: Path) -> None:
    assert own_group(own=tmp_path / "none", mounted_at=tmp_path).num_killed == 0
