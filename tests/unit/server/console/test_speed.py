"""What pages cost the server in a federation of 200 hospitals whose run has come to its 500th round."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher

import server.console.passwords
from server.summary import summarize
from tests.unit.server.console.console import Browser, Console
from tests.unit.server.console.recorded_runs import enrol_many, plan_of, record_long_run

NUM_SITES, NUM_ROUNDS = 200, 500
MOST_S = 1.0
"""Of processor time: what others do on this machine meanwhile is not the page's."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Console:
    folder: Path = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(server.console.passwords, "_hasher", cheap)
        server.console.passwords.nobodys.cache_clear()
        console = Console(folder / "home")
    console.enrol("aarhus")
    enrol_many(console.coordinator, NUM_SITES)
    record_long_run(console.coordinator, plan_of(NUM_ROUNDS))
    return console


@pytest.fixture
def browser(large: Console) -> Browser:
    return large.browser_of("ada")


@pytest.mark.parametrize(
    "path",
    ["/", "/runs", "/runs/new", "/runs/run-1", "/runs/run-1/rounds/499", "/models", "/audit?words=none"],
)
def test_each_page_takes_less_than_a_second_at_its_first_view(browser: Browser, path: str) -> None:
    before = time.process_time()
    answer = browser.get(path)
    took = time.process_time() - before

    assert answer.status_code == 200
    assert took < MOST_S


def test_the_run_is_whole_for_all_that_it_is_read_in_little_time(large: Console) -> None:
    summary = summarize(large.coordinator.runs.get("run-1"), large.coordinator)

    assert summary.num_finished == NUM_ROUNDS - 1
    assert {one.num_asked for one in summary.rounds} == {NUM_SITES}
    assert {one.num_admitted for one in summary.rounds[:-1]} == {NUM_SITES}
    assert summary.rounds[0].train_loss == pytest.approx(0.25 + 0.9)


def test_a_page_that_follows_looks_at_little_to_know_that_nothing_has_changed(large: Console) -> None:
    before = time.process_time()
    for _ in range(100):
        large.coordinator.outcomes.stamp("run-1")
    assert time.process_time() - before < MOST_S
