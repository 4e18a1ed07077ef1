"""The pages of the runs: what they show, and that they do what the commands do."""

from __future__ import annotations

import html
import json
import re
import time

import pytest

from server.console.charts import MOST_LINES
from server.console.reading import read
from server.console.runs import PARTS
from server.learning_curves import panels
from server.lifecycle import AnswerState, RoundState, RunState
from server.members import Contact
from server.summary import RoundSummary, summarize
from shared.errors import UnreachableError
from shared.plan import METRIC_NAMES, Plan
from shared.records import Occasion, Phase
from tests.unit.server.console.console import Console
from tests.unit.server.console.recorded_runs import plan_of, record_run, submit_run
from tests.unit.server.console.test_federation_page import text_of

SITES = ("aarhus", "bergen", "cork")


@pytest.fixture
def running(console: Console) -> Console:
    """A run of five rounds, three of which are done; cork did not answer in the second."""
    for name in SITES:
        console.enrol(name)
    record_run(console.coordinator, plan_of(5), done=3, lost=frozenset({(2, "cork")}))
    return console


def page_of(console: Console, path: str, name: str = "vera") -> str:
    answer = console.browser_of(name).get(path)
    assert answer.status_code == 200, answer.text
    return text_of(html.unescape(answer.text))


def state_of(console: Console) -> RunState:
    return console.coordinator.runs.get("run-1").state


def test_without_any_run_the_page_says_what_to_do_next(console: Console) -> None:
    assert "mammofed-coordinator run start PLAN.toml" in page_of(console, "/runs")


def test_every_run_is_listed_with_its_state_and_how_far_it_is_the_newest_first(running: Console) -> None:
    submit_run(running.coordinator, plan_of(8), "run-2")

    page = page_of(running, "/runs")

    assert re.search(r"run-2 waits for approvals 0 of 8 .* run-1 running 3 of 5", page)


def test_a_run_is_shown_with_its_rounds_and_figures(running: Console) -> None:
    summary = summarize(running.coordinator.runs.get("run-1"), running.coordinator)
    third = summary.rounds[2]

    page = page_of(running, "/runs/run-1")

    assert "3 of 5 rounds · about 2 min 30 s left · best dense Dice" in page
    assert f"{third.value('dice_dense'):.3f} after round 2" in page
    assert re.search(rf"3 in the model 3 of 3 {third.train_loss:.3f} {third.value('loss'):.3f} ", page)
    assert "2 in the model 2 of 3" in page
    assert "Round 4: 0 of 3 have answered" in page
    assert page.count("out of touch") == 3


def test_the_receipt_of_a_round_says_who_was_asked_who_is_counted_and_why_not(running: Console) -> None:
    page = page_of(running, "/runs/run-1/rounds/2")

    assert "Asked 3 hospitals; the quorum is 2 Counted 2" in page
    assert "cork no answer no answer" in page
    assert re.search(r"aarhus counted 120 \d\.\d{3}", page)
    for missing in ("/runs/run-1/rounds/9", "/runs/run-9/rounds/1", "/runs/run-9", "/runs/run-9/live"):
        assert running.browser_of("vera").get(missing).status_code == 404


def test_a_run_that_waits_says_who_approves_and_how_a_hospital_does(console: Console) -> None:
    for name in SITES:
        console.enrol(name)
    submit_run(console.coordinator, plan_of(5))

    page = page_of(console, "/runs/run-1")

    assert "0 of 3 hospitals approve; 2 are needed for the run to begin" in page
    assert "mammofed-site plan show" in page
    assert "No round was opened yet" in page


def test_what_a_failed_run_says_is_text_on_the_page(running: Console) -> None:
    running.coordinator.runs.move(
        "run-1", RunState.FAILED, at=time.time(), failure="<b onclick=x>Too few</b> answers"
    )

    text = running.browser_of("vera").get("/runs/run-1").text

    assert "&lt;b onclick=x&gt;Too few" in text
    assert "<b onclick" not in text


def test_a_metric_that_the_plan_does_not_ask_for_is_said_to_be_left_out(console: Console) -> None:
    for name in SITES:
        console.enrol(name)
    record_run(console.coordinator, plan_of(5, ["dice"]), done=3)

    page = page_of(console, "/runs/run-1")

    assert page.count("the plan asks no hospital for train_loss") == 1
    assert page.count("the plan asks no hospital for percent_density") == 3
    assert "the plan asks no hospital for dice" not in page


# -- curves


def test_curves_have_a_value_or_a_gap_for_every_round_and_mark_the_best(running: Console) -> None:
    loss, dice, *_ = json.loads(read(running.coordinator.runs.get("run-1"), running.coordinator).curves)

    assert loss["places"] == [1, 2, 3]
    assert dice["places"] == [0, 1, 2]
    cork = next(site for site in dice["sites"] if site["name"] == "cork")
    assert [value is None for value in cork["values"]] == [False, True, False]
    assert dice["best"][0] == 2
    assert dice["best"][1] == pytest.approx(max(dice["all"]), abs=1e-6)
    assert loss["best"] is None


def test_a_round_that_is_half_told_or_misses_a_site_is_not_the_best() -> None:
    cork_is_missing, half_told, whole = 2, 4, 3

    def summary(number: int, state: RoundState, admitted: int, dice: float) -> RoundSummary:
        return RoundSummary(
            number=number,
            attempt=1,
            state=state,
            seconds=1.0,
            num_asked=3,
            num_admitted=admitted,
            figures={"dice_dense": dice},
        )

    rounds = [
        summary(1, RoundState.AGGREGATED, 3, 0.1),
        summary(cork_is_missing, RoundState.AGGREGATED, 2, 0.9),
        summary(whole, RoundState.AGGREGATED, 3, 0.5),
        summary(half_told, RoundState.OPEN, 1, 0.95),
    ]
    dice = next(panel for panel in panels(rounds, {}) if panel.name == "dice_dense")

    assert [value for _, value in dice.of_all] == [0.1, 0.9, 0.5, 0.95]
    assert dice.best == (whole - 1, 0.5)  # it measures the weights after the round before


def test_no_more_lines_are_drawn_than_can_be_told_apart_and_the_page_says_so(console: Console) -> None:
    for number in range(MOST_LINES + 3):
        console.enrol(f"site-{number:02d}")
    plan = plan_of(2)
    record_run(console.coordinator, plan, done=1)

    reading = read(console.coordinator.runs.get("run-1"), console.coordinator)

    assert all(len(panel["sites"]) == MOST_LINES for panel in json.loads(reading.curves))
    assert "3 more hospitals are not drawn" in page_of(console, "/runs/run-1")


# -- what changes


def test_a_page_that_follows_is_told_of_every_change_of_its_run_and_of_no_other(running: Console) -> None:
    runs, outcomes = running.coordinator.runs, running.coordinator.outcomes
    submit_run(running.coordinator, plan_of(5), "run-2")
    seen = [outcomes.stamp("run-1")]
    fourth = runs.rounds("run-1")[-1]
    site_id = running.coordinator.federation.active()[0].site_id

    for change in (
        lambda: running.coordinator.consents.offer("run-1", site_id, at=1.0),
        lambda: runs.close_round(fourth, None, state=RoundState.VOID, at=2.0),
        lambda: runs.stop("run-1", actor="person:ada", at=3.0),
        lambda: runs.resume("run-1", actor="person:ada", at=4.0),
    ):
        change()
        seen.append(outcomes.stamp("run-1"))
        runs.move("run-2", RunState.STOPPED, at=5.0)
        assert outcomes.stamp("run-1") == seen[-1]
        runs.resume("run-2", actor="person:ada", at=6.0)

    assert len(set(seen)) == len(seen)


def test_a_run_is_read_once_for_all_who_look_and_again_after_a_change(
    running: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        "server.console.runs.read", lambda run, where: seen.append(run.state) or read(run, where)
    )
    browser = running.browser_of("vera")

    for path in ("/runs/run-1", "/runs/run-1/rounds/2", "/runs/run-1"):
        assert browser.get(path).status_code == 200
    running.coordinator.runs.stop("run-1", actor="test", at=time.time())
    assert "stopped" in browser.get("/runs/run-1").text
    running.coordinator.memberships.revoke("cork", reason=None, now=time.time(), actor="test")
    browser.get("/runs/run-1")

    assert seen == [RunState.RUNNING, RunState.STOPPED, RunState.STOPPED]


def test_every_part_that_follows_has_its_place_on_the_page(running: Console) -> None:
    text = running.browser_of("otto").get("/runs/run-1").text

    assert re.search(r'data-live="/runs/run-1/live"', text)
    for part in PARTS:
        assert len(re.findall(rf'id="{part}"', text)) == 1


# -- deeds


def test_an_operator_stops_a_run_and_lets_it_go_on(running: Console) -> None:
    browser = running.browser_of("otto")

    assert browser.post("/runs/run-1/stop").headers["location"] == "/runs/run-1"
    assert state_of(running) is RunState.STOPPED
    assert "Go on after round 3" in browser.get("/runs/run-1").text
    assert browser.post("/runs/run-1/stop").status_code == 409

    assert browser.post("/runs/run-1/resume").status_code == 303
    assert state_of(running) is RunState.SUBMITTED
    assert [line[0] for line in running.lines("run.stopped")] == ["person:otto"]
    assert [line[0] for line in running.lines("run.resumed")] == ["person:otto"]


def test_a_run_does_not_go_on_while_the_coordinators_processes_are_down(running: Console) -> None:
    running.coordinator.runs.stop("run-1", actor="test", at=time.time())
    running.superlink.error = UnreachableError("The coordinator is not running.", "Start it.")

    answer = running.browser_of("otto").post("/runs/run-1/resume")

    assert answer.status_code == 503
    assert state_of(running) is RunState.STOPPED


def test_only_a_finished_run_is_extended(running: Console) -> None:
    answer = running.browser_of("otto").post("/runs/run-1/extend", {"rounds": "5"})

    assert answer.status_code == 409
    assert "Only a finished run is extended" in answer.text
    assert len(running.coordinator.runs.all()) == 1


@pytest.mark.parametrize("rounds", ["0", "-1", "1.5", "10001", "nan", "inf", "many", ""])
def test_a_number_of_rounds_that_cannot_be_is_told(running: Console, rounds: str) -> None:
    answer = running.browser_of("otto").post("/runs/run-1/extend", {"rounds": rounds})

    assert answer.status_code == 409
    assert "no number of further rounds" in answer.text


@pytest.mark.parametrize("deed", ["stop", "resume", "extend"])
def test_role_escalation_a_viewer_changes_no_run(running: Console, deed: str) -> None:
    browser = running.browser_of("vera")

    assert browser.post(f"/runs/run-1/{deed}", {"rounds": "5"}).status_code == 403

    assert state_of(running) is RunState.RUNNING
    assert f"/runs/run-1/{deed}" not in browser.get("/runs/run-1").text


def test_the_plan_of_the_page_is_the_one_that_the_hospitals_approved(running: Console) -> None:
    run = running.coordinator.runs.get("run-1")
    text = html.unescape(running.browser_of("vera").get("/runs/run-1").text)

    assert run.plan_toml in text
    assert run.plan_sha256 in text
    assert Plan.from_toml(run.plan_toml).metrics == METRIC_NAMES


# -- how far hospitals are, what was turned away, agreement


def in_touch(console: Console) -> None:
    for number, site in enumerate(console.coordinator.federation.active(), start=1):
        console.coordinator.federation.set_node_id(site.site_id, number)
        console.superlink.known[number] = Contact(is_online=True, silent_since=None)


def test_a_hospital_is_seen_downloading_training_and_uploading(running: Console) -> None:
    in_touch(running)
    coordinator, site = running.coordinator, running.coordinator.federation.active()[0]
    seen = [coordinator.outcomes.stamp("run-1")]

    assert page_of(running, "/runs/run-1").count("downloading") == 3
    coordinator.transfers.note_fetched(site.site_id, "1" * 64, at=time.time())
    assert page_of(running, "/runs/run-1").count("downloading") == 3
    coordinator.transfers.note_fetched(site.site_id, "0" * 64, at=time.time())
    seen.append(coordinator.outcomes.stamp("run-1"))
    assert re.search(rf"{site.name} training", page_of(running, "/runs/run-1"))
    coordinator.transfers.note_sending(site.site_id, at=time.time())
    seen.append(coordinator.outcomes.stamp("run-1"))

    assert re.search(rf"{site.name} uploading", page_of(running, "/runs/run-1/rounds/4"))
    assert len(set(seen)) == 3


def test_the_first_time_of_a_step_counts_and_a_closed_round_takes_none(running: Console) -> None:
    coordinator, site = running.coordinator, running.coordinator.federation.active()[0]
    fourth = coordinator.runs.rounds("run-1")[-1]
    coordinator.transfers.note_fetched(site.site_id, "0" * 64, at=5.0)
    coordinator.transfers.note_fetched(site.site_id, "0" * 64, at=9.0)
    coordinator.runs.close_round(fourth, None, state=RoundState.VOID, at=time.time())
    coordinator.transfers.note_sending(site.site_id, at=10.0)

    answers = {each.site_id: each for each in coordinator.histories.answers_of(fourth)}

    assert (answers[site.site_id].fetched_at, answers[site.site_id].sending_at) == (5.0, None)


def test_what_was_rejected_is_told_with_its_reason_and_round(running: Console) -> None:
    plan, site = plan_of(5), running.coordinator.federation.active()[0]
    occasion = Occasion(
        run_id="run-1",
        plan_sha256=plan.sha256,
        round_number=4,
        attempt=1,
        phase=Phase.TRAIN,
        site_id=site.site_id,
        base_digest="0" * 64,
    )
    running.coordinator.runs.record_answer(
        occasion, AnswerState.REJECTED, at=time.time(), reason="The update is not finite."
    )

    page = page_of(running, "/runs/run-1")

    assert re.search(rf"Round 4 ?: {site.name} The update is not finite. rejected", page)


def test_agreement_is_told_from_statistics_with_its_limits(running: Console) -> None:
    page = page_of(running, "/runs/run-1")

    told = page[page.index("Agreement of percent density") :]
    assert "Of the weights that round 3 began with" in told
    assert re.search(r"aarhus 30 0\.\d{3}", told)
    assert re.search(r"all sites 90 0\.\d{3} \[", told)


def test_agreement_is_still_told_after_a_stop_has_made_the_open_round_void(running: Console) -> None:
    runs = running.coordinator.runs
    runs.close_round(runs.rounds("run-1")[-1], None, state=RoundState.VOID, at=time.time())
    runs.stop("run-1", actor="person:otto", at=time.time())

    assert "Of the weights that round 3 began with" in page_of(running, "/runs/run-1")


def test_a_round_tells_the_bytes_of_its_updates(running: Console) -> None:
    third = summarize(running.coordinator.runs.get("run-1"), running.coordinator).rounds[2]

    assert third.update_bytes == 3 * len(b"update")
