"""Traces of runs at a real receiver of OTLP on loopback, read by the protocol's own package."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from server.lifecycle import AnswerState, RoundState, RunState
from server.monitoring.settings import TracesSettings
from server.monitoring.spans import Gathering, spans_of_attempt
from server.store.closed_attempts import ClosedAttempt, Part
from shared.records import MASKED_ROUND_PHASES, Phase
from tests.unit.server.console.console import Console
from tests.unit.server.console.recorded_runs import ROUND_S, plan_of, record_run

pytest.importorskip("opentelemetry.sdk", reason="the extra `traces` is not installed")
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from server.monitoring.traces import Traces

HOSPITALS = ("aarhus", "bergen", "cork")
ALLOWED = {
    *("mammofed.run.id", "mammofed.run.name", "mammofed.plan.sha256", "mammofed.round", "mammofed.attempt"),
    *("mammofed.state", "mammofed.sites.asked", "mammofed.sites.counted", "mammofed.site.id"),
    *("mammofed.site.name", "mammofed.download_s", "mammofed.train_s", "mammofed.upload_s"),
}
TOKEN = "of the collector"


@dataclass
class Receiver:
    """Takes traces, unless it is away."""

    port: int = 0
    is_away: bool = False
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # named by http.server
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/traces" or made.is_away:
                self.send_error(400)  # which is not worth trying again at once
                return
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            made.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(trace_service_pb2.ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        listening.shutdown()
        thread.join()


@pytest.fixture
def console(tmp_path: Path) -> Console:
    console = Console(tmp_path / "home")
    for name in HOSPITALS:
        console.enrol(name)
    return console


def traces_of(console: Console, receiver: Receiver, *, later_s: float = 600.0, **settings: str) -> Traces:
    """As they are after so long."""
    made = TracesSettings(endpoint=receiver.endpoint, **settings)
    now = console.clock() + later_s
    return Traces(made, console.home, console.coordinator, clock=lambda: now)


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_run_comes_as_rounds_phases_and_answers_each_within_the_one_above(
    console: Console, receiver: Receiver
) -> None:
    run = record_run(console.coordinator, plan_of(4), done=3, lost=frozenset({(2, "cork")}))
    traces = traces_of(console, receiver)

    assert traces.look()
    console.coordinator.runs.move(run.run_id, RunState.FAILED, at=console.clock() + 300)
    assert traces.look()

    (whole,) = receiver.named("run")
    rounds, phases, answers = (receiver.named(name) for name in ("round", "train", "answer"))
    assert [attributes(each)["mammofed.round"] for each in rounds] == [1, 2, 3]
    assert {each.parent_span_id for each in rounds} == {whole.span_id}
    assert [each.parent_span_id for each in phases] == [each.span_id for each in rounds]
    assert {each.parent_span_id for each in answers} == {each.span_id for each in phases}
    assert {each.trace_id for each in receiver.spans} == {whole.trace_id}
    assert len({each.span_id for each in receiver.spans}) == len(receiver.spans) == 1 + 3 + 3 + 9
    assert {each.end_time_unix_nano - each.start_time_unix_nano for each in rounds} == {int(ROUND_S * 1e9)}
    failed = [each for each in answers if each.status.code == each.status.STATUS_CODE_ERROR]
    assert [
        (attributes(each)["mammofed.site.name"], attributes(each)["mammofed.round"]) for each in failed
    ] == [("cork", 2)]
    assert whole.status.code == whole.status.STATUS_CODE_ERROR
    service = receiver.requests[0].resource_spans[0].resource
    assert {each.key for each in service.attributes} == {"service.name", "service.version"}


def test_nothing_that_a_site_has_told_of_its_images_is_in_a_trace(
    console: Console, receiver: Receiver
) -> None:
    record_run(console.coordinator, plan_of(3), done=2)

    traces_of(console, receiver).look()

    assert {name for span in receiver.spans for name in attributes(span)} <= ALLOWED
    assert not any(span.events or span.status.message for span in receiver.spans)


def test_each_span_is_sent_once(console: Console, receiver: Receiver) -> None:
    record_run(console.coordinator, plan_of(3), done=2)
    traces = traces_of(console, receiver)

    for _ in range(3):
        assert traces.look()

    assert len(receiver.named("round")) == 2


def test_a_collector_that_was_away_gets_everything_when_it_is_back(
    console: Console, receiver: Receiver
) -> None:
    record_run(console.coordinator, plan_of(3), done=2)
    traces = traces_of(console, receiver)
    receiver.is_away = True
    assert not traces.look()

    receiver.is_away = False

    assert traces.look()
    assert len(receiver.named("round")) == 2


def test_after_a_new_start_the_last_hour_is_sent_again_under_the_same_ids(
    console: Console, receiver: Receiver
) -> None:
    record_run(console.coordinator, plan_of(3), done=2)
    traces_of(console, receiver).look()
    first = {each.span_id for each in receiver.spans}

    traces_of(console, receiver).look()
    assert len(receiver.spans) == 2 * len(first)
    assert {each.span_id for each in receiver.spans} == first

    before = len(receiver.spans)
    traces_of(console, receiver, later_s=2 * 3600 + 600).look()
    assert len(receiver.spans) == before


def test_the_collector_is_shown_the_token_of_the_settings(console: Console, receiver: Receiver) -> None:
    file = console.home.folder / "collector.token"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n")
    record_run(console.coordinator, plan_of(3), done=1)

    traces_of(console, receiver, token_file=file.name).look()

    assert receiver.headers[0]["authorization"] == f"Bearer {TOKEN}"


def test_nothing_is_sent_unless_an_address_is_set(console: Console) -> None:
    assert console.home.settings().traces is None


@pytest.mark.parametrize("endpoint", ["http://collector.example/v1/traces", "collector:4318", "", "ftp://x/"])
def test_a_collector_that_others_could_listen_to_is_no_setting(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        TracesSettings(endpoint=endpoint)


# -- what belongs together


def attempt(phase: Phase, number: int, *, state: RoundState = RoundState.AGGREGATED) -> ClosedAttempt:
    at = 100.0 + list(Phase).index(phase) + 10 * number
    return ClosedAttempt(
        run_id="run-1",
        number=number,
        attempt=1,
        phase=phase,
        state=state,
        opened_at=at,
        closed_at=at + 1,
        parts=[
            Part(
                site_id="site-cork",
                state=AnswerState.ADMITTED,
                asked_at=at,
                fetched_at=at + 0.25,
                sending_at=at + 0.5,
                answered_at=at + 0.75,
            )
        ],
    )


def names(over: Sequence[Sequence[ClosedAttempt]]) -> list[list[str]]:
    return [[phase.phase.value for phase in group] for group in over]


def test_a_round_under_secure_aggregation_is_one_span_with_its_five_phases() -> None:
    gathering = Gathering()
    closing = (*(phase for phase in MASKED_ROUND_PHASES if phase is not Phase.TRAIN), Phase.TRAIN)
    over = [gathering.add([attempt(phase, 1)]) for phase in closing]

    assert [names(each) for each in over[:-1]] == [[]] * 4
    (phases,) = over[-1]
    round_, *others = spans_of_attempt(phases, {"site-cork": "cork"})
    assert (round_.name, round_.started_at, round_.ended_at) == (
        "round",
        phases[0].opened_at,
        phases[-1].closed_at,
    )
    assert [each.name for each in others if each.parent == round_.key] == [each.value for each in closing]
    answer = next(each for each in others if each.name == "answer")
    assert answer.attributes["mammofed.site.name"] == "cork"
    assert [answer.attributes[f"mammofed.{step}_s"] for step in ("download", "train", "upload")] == [0.25] * 3


def test_a_masked_round_that_comes_to_nothing_is_over_with_the_phase_that_does() -> None:
    gathering = Gathering()

    over = gathering.add([attempt(Phase.KEYS, 1), attempt(Phase.SHARES, 1, state=RoundState.VOID)])

    assert names(over) == [["keys", "shares"]]
    assert spans_of_attempt(over[0], {})[0].is_failed


def test_a_masked_round_whose_survivors_are_too_few_is_one_span_with_its_updates() -> None:
    gathering = Gathering()
    before = [attempt(Phase.KEYS, 1), attempt(Phase.SHARES, 1)]

    over = gathering.add([*before, attempt(Phase.SURVIVORS, 1, state=RoundState.VOID)])
    assert over == []
    over = gathering.add([attempt(Phase.TRAIN, 1, state=RoundState.VOID)])

    assert names(over) == [["keys", "shares", "survivors", "train"]]
    assert gathering.add([attempt(Phase.TRAIN, 2)]) != []


def test_an_evaluation_under_masks_is_one_span_with_its_five_phases() -> None:
    masks = [attempt(phase, 4) for phase in MASKED_ROUND_PHASES if phase is not Phase.TRAIN]

    (phases,) = Gathering().add([*masks, attempt(Phase.EVALUATE, 4)])

    whole, *others = spans_of_attempt(phases, {})
    assert whole.name == "evaluate"
    assert len([each for each in others if each.parent == whole.key]) == 5


def test_the_count_before_and_the_evaluation_after_the_rounds_are_spans_of_their_own() -> None:
    over = Gathering().add([attempt(Phase.COUNT, 0), attempt(Phase.TRAIN, 1), attempt(Phase.EVALUATE, 1)])

    assert [spans_of_attempt(each, {})[0].name for each in over] == ["count", "round", "evaluate"]
