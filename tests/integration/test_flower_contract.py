"""What we lean on inside Flower: an upgrade that changes any of it fails here, and not at a hospital."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import io
import json
import multiprocessing
import socket
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import flwr.supercore.corestate.in_memory_corestate as flower_tasks
import flwr.supercore.heartbeat as flower_heartbeat
import flwr.supercore.retry.http_retry as flower_retry
import flwr.superlink.grid.http_grid as flower_grid
import flwr.superlink.routers.fleet.node_auth as flower_check
import flwr.supernode.fleet_http_connection as flower_connection
import flwr.supernode.runtime.run_clientapp as flower_task
import flwr.supernode.start_client_internal as flower_node
import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, TIMESTAMP_HEADER, ErrorCode, Status
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.auth import create_superexec_auth_metadata, derive_auth_secret, load_superexec_auth_secret
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.run import Run
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app as create_superlink
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

import server.flower.superlink as our_superlink
from client.flower import executor, pace
from server.clock import MOST_AHEAD_S, MOST_BEHIND_S
from server.flower.superlink import FleetOnly, let_nodes_return, make_app
from server.flower.witnesses import Witnesses, listen_to
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from shared.errors import StoreError
from shared.flower.bundle import build_bundle, bundle_sha256
from shared.flower.pulls import pull_soon
from shared.flower.tasks import TaskSource
from shared.flower.wire import MESSAGE_TYPE, pack
from shared.supervision import Pulse
from shared.trust.keys import NodeKey

LOGIN_PATHS = {
    "/v1/control/get-login-details",
    "/v1/control/get-auth-tokens",
    "/v1/control/refresh-auth-tokens",
}
"""Where an account would log in. There are no accounts: these answer anyone on loopback, and give nothing."""

ACQUIRE_TASK = "/v1/runtime/acquire-task"
RUN_ID, NODE_ID = 7, 11
LONGEST_CUT_S = 30
PATIENT = "PHANTOM^ALICE0001"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes


def post(app: Any, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
    """Hand a request to an ASGI application with the path exactly as given; no client tidies it up."""
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        answer["status"] = event.get("status", answer.get("status"))
        answer["body"] += event.get("body", b"")

    sent = {"content-type": PROTOBUF_MEDIA_TYPE, **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("192.0.2.9", 40_000),
        "server": ("192.0.2.1", 443),
    }
    asyncio.run(app(scope, receive, send))
    return Answer(answer["status"], answer["body"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> CoordinatorHome:
    made = CoordinatorHome(tmp_path_factory.mktemp("coordinator"))
    found(made, CoordinatorSettings(name="Contract"), now=time.time(), actor="test")
    return made


@pytest.fixture(scope="module")
def superlink(home: CoordinatorHome) -> FastAPI:
    return make_app(home)


def paths(app: FastAPI, prefix: str = "") -> list[str]:
    found_paths = {str(route.path) for route in iter_route_contexts(app.routes)}
    return sorted(path for path in found_paths if path.startswith(prefix))


# --- the SuperNode's pauses and heartbeats


def test_the_node_uses_of_its_clock_nothing_but_sleep() -> None:
    tree = ast.parse(inspect.getsource(flower_node))
    uses = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
    ]
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    copied = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert set(uses) == {"sleep"}
    assert "time" in imported
    assert "time" not in copied


def test_the_node_sleeps_longest_without_a_message_and_shorter_within_one() -> None:
    tree = ast.parse(inspect.getsource(flower_node))
    sleeps = {
        function.name: {
            call.args[0].value
            for call in ast.walk(function)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "sleep"
            and isinstance(call.args[0], ast.Constant)
        }
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
    }

    assert sleeps["start_client_internal"] == {pace.FLOWERS_IDLE_PAUSE_S}
    assert all(pause < pace.FLOWERS_IDLE_PAUSE_S for pause in sleeps["_push_messages"])


def test_a_node_that_has_just_had_a_message_asks_again_at_once_and_later_less_often() -> None:
    pauses = [pace.pause_after(idle_s) for idle_s in (0, 1, 4, 10, 60, 3600)]

    assert pauses == [0.05, 0.05, 0.2, 0.5, 3.0, 3.0]


def test_the_nodes_clock_counts_idle_time_from_the_last_message(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], []
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace.time, "sleep", slept.append)
    clock = pace.NodeClock()
    now[0] += 10
    clock.sleep(3)
    clock.sleep(0.5)
    clock.sleep(3)

    assert slept == [0.5, 0.05, 0.05]


def test_a_node_whose_questions_are_answered_late_rests_longer_and_a_long_line_does_not_slow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, slept = [100.0], []
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace.time, "sleep", slept.append)
    monkeypatch.setattr(pace, "pause_after", lambda _idle_s: 0.05)
    clock = pace.NodeClock()
    clock.sleep(3)
    for took_s in (0.25, 0.25, 0.95, 0.25, 0.27, 0.26, 0.28, 0.35, 0.35, 0.45):
        now[0] += took_s
        clock.sleep(3)
    now[0] += 5.0
    clock.sleep(0.5)  # it has had a message, and the time since is no question's
    now[0] += 5.0
    clock.sleep(3)

    late = [0.3, 0.3, 0.9, 3.0]  # thirty times the least of three beyond a quarter of a second
    assert slept == pytest.approx([0.05] * 7 + late + [0.05, 0.05])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (flower_node, "pull_objects"),
        (flower_grid, "pull_objects"),
        (flower_task, "pull_and_inflate_object_from_tree"),
    ],
)
def test_a_part_that_arrives_late_is_pulled_at_once_where_stock_flower_waits_a_second(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, vars(module)[name])  # the stock function is back afterwards
    pull_soon(module, name)
    part = ConfigRecord({"there": True})
    asked: list[str] = []

    def pull(object_id: str) -> bytes:
        asked.append(object_id)
        if len(asked) == 1:
            raise ObjectUnavailableError(object_id)
        return part.deflate()

    began = time.monotonic()
    if name == "pull_objects":
        assert vars(module)[name]([part.object_id], pull) == {part.object_id: part.deflate()}
    else:
        pulled = vars(module)[name](
            get_object_tree(part), pull, lambda _object_id: None, return_type=ConfigRecord
        )
        assert pulled == part

    assert time.monotonic() - began < 0.5
    assert len(asked) == 2


@pytest.mark.parametrize("module", [flower_node, flower_grid])
def test_messages_are_pulled_by_the_modules_own_name_of_the_function(module: ModuleType) -> None:
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]

    assert "pull_objects" in calls


@pytest.mark.parametrize("module", [flower_connection, flower_heartbeat, flower_tasks])
def test_the_heartbeat_interval_is_read_from_the_module_each_time(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    in_functions = {
        name.id
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        for name in ast.walk(statement)
        if isinstance(name, ast.Name)
    }

    assert isinstance(vars(module)["HEARTBEAT_DEFAULT_INTERVAL"], int)
    assert "HEARTBEAT_DEFAULT_INTERVAL" in in_functions


def test_our_heartbeat_is_one_that_the_superlink_accepts() -> None:
    from flwr.common import constant

    assert constant.HEARTBEAT_MIN_INTERVAL <= pace.HEARTBEAT_S <= constant.HEARTBEAT_MAX_INTERVAL
    assert pace.HEARTBEAT_S > constant.HEARTBEAT_CALL_TIMEOUT
    assert pace.HEARTBEAT_S < pace.NODE_HEARTBEAT_S < constant.HEARTBEAT_DEFAULT_INTERVAL
    assert pace.NODE_HEARTBEAT_S * constant.HEARTBEAT_PATIENCE > LONGEST_CUT_S + pace.HEARTBEAT_S


def test_a_heartbeat_sender_follows_a_changed_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    interval = flower_heartbeat.HEARTBEAT_CALL_TIMEOUT + 0.05
    monkeypatch.setattr(flower_heartbeat, "HEARTBEAT_DEFAULT_INTERVAL", interval)
    beats, enough = [], threading.Event()

    def beat() -> bool:
        beats.append(time.monotonic())
        if len(beats) == 3:
            enough.set()
        return True

    sender = flower_heartbeat.HeartbeatSender(beat)
    sender.start()
    try:
        assert enough.wait(5)
    finally:
        sender.stop()


def test_a_task_whose_executor_has_gone_silent_is_answered_as_crashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flower_tasks, "HEARTBEAT_DEFAULT_INTERVAL", 0.05)
    node = Node()
    message = node.give_task(build_bundle())
    (task,) = node.state.get_tasks()
    assert node.state.claim_task(task.task_id)
    assert node.state.activate_task(task.task_id)
    assert node.state.get_messages_legacy(is_reply=False)

    reply = node.wait_for_reply()

    assert reply.metadata.reply_to_message_id == message.metadata.message_id
    assert reply.error.code == ErrorCode.CLIENT_APP_CRASHED


@pytest.fixture
def retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our settings of Flower's retries, and afterwards its own again."""
    for name in ("MAX_RETRY_DELAY", "_RETRYABLE_STATUS_CODES"):
        monkeypatch.setattr(flower_retry, name, vars(flower_retry)[name])
    pace.try_again()


@pytest.mark.parametrize("status", [500, 503])
def test_a_call_that_is_answered_with_a_server_error_is_made_again(retries: None, status: int) -> None:
    request = httpx.Request("POST", "https://coordinator.example.org/v1/fleet/push-messages")
    answers = [httpx.Response(status, request=request), httpx.Response(200, request=request)]

    def call() -> httpx.Response:
        return answers.pop(0).raise_for_status()

    assert flower_retry.make_simple_http_retry_invoker().invoke(call).status_code == 200


def test_stock_flower_gives_a_call_up_that_is_answered_with_status_500() -> None:
    request = httpx.Request("POST", "https://coordinator.example.org/v1/fleet/push-messages")

    def call() -> httpx.Response:
        return httpx.Response(500, request=request).raise_for_status()

    with pytest.raises(httpx.HTTPStatusError):
        flower_retry.make_simple_http_retry_invoker().invoke(call)


def test_the_longest_wait_before_another_try_is_read_from_the_module(retries: None) -> None:

    delays = flower_retry.make_simple_http_retry_invoker().wait_gen_factory()

    assert max(next(delays) for _ in range(10)) == pace.LONGEST_WAIT_S


def test_the_node_makes_its_client_and_its_heartbeats_by_names_of_its_module() -> None:
    tree = ast.parse(inspect.getsource(flower_connection.http_request_response))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert {"FleetHttpClient.from_server_address", "HeartbeatSender"} <= called


def test_a_call_of_the_node_to_a_coordinator_that_says_nothing_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "CALL_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        client = pace.fleet_client_through(None).from_server_address(address, True, None, interceptors=[])

        with pytest.raises(httpx.ReadTimeout):
            client.PullMessages(PullMessagesRequest())


class _OneByOne(BaseHTTPRequestHandler):
    """Answers every call with nothing, and keeps its line."""

    protocol_version = "HTTP/1.1"
    lines: ClassVar[set[tuple[str, int]]] = set()

    def do_POST(self) -> None:
        self.lines.add(self.client_address)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.slow
def test_calls_that_are_seconds_apart_go_over_one_line() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _OneByOne) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        client = pace.fleet_client_through(None).from_server_address(address, True, None, interceptors=[])

        client.PullMessages(PullMessagesRequest())
        time.sleep(6)  # httpx keeps a line for 5 s, if nobody says otherwise
        client.PullMessages(PullMessagesRequest())
        server.shutdown()

    assert len(_OneByOne.lines) == 1


def test_a_failed_heartbeat_is_tried_again_each_second() -> None:
    beats, enough = [], threading.Event()

    def beat() -> bool:
        beats.append(time.monotonic())
        if len(beats) == 4:
            enough.set()
        return False

    sender = pace.FatalHeartbeats(beat)
    sender.start()
    try:
        assert enough.wait(3.9)
    finally:
        sender.stop()


def _beat_once_with_an_error() -> None:
    def beat() -> bool:
        raise RuntimeError("an answer of status 500")

    sender = pace.FatalHeartbeats(beat)
    sender.start()
    time.sleep(60)


def test_heartbeats_that_end_on_an_error_take_their_process_with_them() -> None:
    process = multiprocessing.get_context("spawn").Process(target=_beat_once_with_an_error)
    process.start()
    process.join(60)

    assert process.exitcode == 1


# --- the SuperLink's configuration and its two faces


def test_our_superlink_names_every_setting_that_flower_has() -> None:
    tree = ast.parse(inspect.getsource(our_superlink))
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == SuperLinkLifespanConfig.__name__
    ]

    assert {word.arg for word in call.keywords} == {
        each.name for each in dataclasses.fields(SuperLinkLifespanConfig)
    }


def test_a_stranger_at_the_public_port_finds_fleet_paths_and_nothing_else(superlink: FastAPI) -> None:
    public = FleetOnly(superlink)
    hidden = [path for path in paths(superlink) if not path.startswith("/v1/fleet/") and path != "/health"]

    assert len([path for path in hidden if path.startswith("/v1/control/")]) > 10
    assert len([path for path in hidden if path.startswith("/v1/runtime/")]) > 10
    assert {path: post(public, path) for path in hidden} == dict.fromkeys(hidden, Answer(404, b""))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/%2e%2e/control/list-nodes",
        "/v1/fleet//v1/control/list-nodes",
        "//v1/control/list-nodes",
        "/V1/Control/list-nodes",
        "/v1/fleet",
        "/health/",
        "/docs",
        "/openapi.json",
        "",
    ],
)
def test_a_stranger_who_bends_a_path_out_of_fleet_finds_nothing(
    superlink: FastAPI, home: CoordinatorHome, path: str
) -> None:
    authorization = {"authorization": f"Bearer {home.control_token_file.read_text().strip()}"}

    assert post(FleetOnly(superlink), path, authorization).status == 404


def test_a_stranger_cannot_register_or_act_as_a_node(superlink: FastAPI) -> None:
    fleet = paths(superlink, "/v1/fleet/")

    assert len(fleet) > 5
    assert {path: post(FleetOnly(superlink), path).status for path in fleet} == dict.fromkeys(fleet, 401)


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic wrong"])
def test_the_control_api_refuses_whoever_does_not_hold_our_token(
    superlink: FastAPI, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    control = [path for path in paths(superlink, "/v1/control/") if path not in LOGIN_PATHS]

    assert {path: post(superlink, path, headers).status for path in control} == dict.fromkeys(control, 401)


def test_the_control_api_opens_to_our_token_alone_and_gives_it_to_nobody(
    superlink: FastAPI, home: CoordinatorHome
) -> None:
    token = home.control_token_file.read_text().strip()

    assert post(superlink, "/v1/control/list-nodes", {"authorization": f"Bearer {token}"}).status == 200
    for path in LOGIN_PATHS:
        assert token.encode() not in post(superlink, path).body


def test_a_task_is_not_handed_to_whoever_does_not_hold_our_secret(
    superlink: FastAPI, home: CoordinatorHome
) -> None:
    request = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])

    def signed_with(secret: bytes) -> dict[str, str]:
        return create_superexec_auth_metadata(
            auth_secret=derive_auth_secret(secret), method="/flwr.proto.Runtime/AcquireTask", request=request
        )

    ours = load_superexec_auth_secret(secret_file=str(home.runtime_secret_file))
    assert ours is not None

    assert post(superlink, ACQUIRE_TASK, body=request.SerializeToString()).status == 401
    stranger = post(superlink, ACQUIRE_TASK, signed_with(b"0" * 32), request.SerializeToString())
    assert stranger.status == 401
    assert post(superlink, ACQUIRE_TASK, signed_with(ours), request.SerializeToString()).status == 200


def test_no_other_runtime_path_answers_without_a_tasks_token(
    superlink: FastAPI, home: CoordinatorHome
) -> None:
    runtime = paths(superlink, "/v1/runtime/")
    bearer = {"authorization": f"Bearer {home.control_token_file.read_text().strip()}"}

    assert ACQUIRE_TASK in runtime
    assert {path: post(superlink, path, bearer).status for path in runtime} == dict.fromkeys(runtime, 401)


def test_a_node_that_comes_back_takes_over_where_stock_flower_refuses_it() -> None:
    state: LinkState = create_superlink().state.linkstate_factory.state()
    node_id = state.create_node("owner", "owner", b"public key", 0)

    assert state.activate_node(node_id, pace.HEARTBEAT_S)
    assert not state.activate_node(node_id, pace.HEARTBEAT_S)

    let_nodes_return(state)

    (before,) = state.get_node_info(node_ids=[node_id])
    activated_at = before.last_activated_at
    assert state.activate_node(node_id, pace.HEARTBEAT_S)
    (after,) = state.get_node_info(node_ids=[node_id])
    assert after.last_activated_at > activated_at
    assert after.status == "online"
    assert not state.activate_node(node_id + 1, pace.HEARTBEAT_S)


ACTIVATE = "/v1/fleet/activate-node"


def signed_by(key: NodeKey, *, ahead_s: float) -> dict[str, str]:
    """The headers that a node with this key sends whose clock is so far ahead of ours."""
    timestamp = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
    return {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(key.private.public_key())).decode(),
        TIMESTAMP_HEADER: timestamp,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key.private, timestamp.encode())).decode(),
    }


@pytest.fixture
def witnesses(monkeypatch: pytest.MonkeyPatch) -> Witnesses:
    monkeypatch.setattr(flower_check, "authenticate_node", flower_check.authenticate_node)
    listening = Witnesses()
    listen_to(listening)
    return listening


@pytest.mark.parametrize(
    ("ahead_s", "status"),
    [
        (0.0, 200),
        (MOST_AHEAD_S - 2, 200),
        (MOST_AHEAD_S + 2, 401),
        (2 - MOST_BEHIND_S, 200),
        (-2 - MOST_BEHIND_S, 401),
        (86_400.0, 401),
    ],
)
def test_the_time_that_a_node_signs_is_noted_whether_flower_refuses_it_or_not(
    superlink: FastAPI, witnesses: Witnesses, ahead_s: float, status: int
) -> None:
    key = NodeKey.generate()
    public_key = public_key_to_bytes(key.private.public_key())
    superlink.state.linkstate_factory.state().create_node("owner", "owner", public_key, 0)
    request = ActivateNodeRequest(public_key=public_key, heartbeat_interval=pace.NODE_HEARTBEAT_S)

    answer = post(
        FleetOnly(superlink), ACTIVATE, signed_by(key, ahead_s=ahead_s), request.SerializeToString()
    )

    assert answer.status == status
    (noted,) = witnesses.sites_ahead_s()
    assert noted == pytest.approx(ahead_s, abs=1.5)


def test_no_time_of_a_stranger_and_none_that_is_not_signed_is_noted(
    superlink: FastAPI, witnesses: Witnesses
) -> None:
    key, stranger = NodeKey.generate(), NodeKey.generate()
    public_key = public_key_to_bytes(key.private.public_key())
    superlink.state.linkstate_factory.state().create_node("owner", "owner", public_key, 0)
    now, later = signed_by(key, ahead_s=0.0), signed_by(key, ahead_s=86_400.0)
    for headers in (
        {**later, FLEET_HTTP_SIGNATURE_HEADER: now[FLEET_HTTP_SIGNATURE_HEADER]},
        {**later, TIMESTAMP_HEADER: "tomorrow"},
        {**later, FLEET_HTTP_PUBLIC_KEY_HEADER: "no key"},
        {},
        signed_by(stranger, ahead_s=86_400.0),
    ):
        request = ActivateNodeRequest(public_key=public_key, heartbeat_interval=pace.NODE_HEARTBEAT_S)
        assert post(FleetOnly(superlink), ACTIVATE, headers, request.SerializeToString()).status == 401

    assert not witnesses.sites_ahead_s()


# --- bundles and the executor


def test_the_bundle_holds_no_code_is_stored_plain_and_is_the_same_every_time() -> None:
    content = build_bundle()

    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        names = [each.filename for each in bundle.infolist()]
        assert not [name for name in names if name.endswith((".py", ".pyc", ".so", ".pth"))]
        assert {"pyproject.toml", "README.md"} <= set(names)
        assert {each.compress_type for each in bundle.infolist()} == {zipfile.ZIP_STORED}
    assert build_bundle.__wrapped__() == content


@dataclass(slots=True)
class Node:
    """A SuperNode's state with its Runtime API, and tasks put in by hand instead of by a coordinator."""

    state: Any = field(init=False)
    factory: NodeStateFactory = field(init=False)

    def __post_init__(self) -> None:
        self.factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
        self.state = self.factory.state()
        self.state.set_node_id(NODE_ID)

    def give_task(self, bundle: bytes) -> Message:
        """What `flwr.supernode` does with a message that it has pulled."""
        run = Run.create_empty(RUN_ID)
        run.fab_hash = self.state.store_fab(Fab(bundle_sha256(bundle), bundle, {}))
        self.state.store_run(run)
        context = Context(RUN_ID, NODE_ID, {}, RecordDict(), {})
        self.state.set_run_series_context(run.series_id, context)
        message = message_of(b"an announcement")
        flower_node._insert_message(message, self.state, self.factory.objectstore_factory.store())
        assert self.state.create_task(task_type=TaskType.CLIENT_APP, run_id=RUN_ID, fab_hash=run.fab_hash)
        return message

    def wait_for_reply(self) -> Message:
        end = time.monotonic() + 10
        while not (replies := self.state.get_messages_legacy(is_reply=True)):
            assert time.monotonic() < end, "no reply"
            time.sleep(0.01)
        (reply,) = replies
        return reply


def message_of(envelope: bytes) -> Message:
    """An announcement as it arrives at a node."""
    metadata = Metadata(
        run_id=RUN_ID,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=NODE_ID,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=60.0,
        message_type=MESSAGE_TYPE,
    )
    return Message(metadata=metadata, content=pack(envelope))


@dataclass(slots=True, kw_only=True)
class RuntimeServer:
    """The Runtime API of a node on loopback."""

    node: Node
    source: TaskSource
    stranger: TaskSource


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[RuntimeServer]:
    node = Node()
    right, wrong = tmp_path / "right.secret", tmp_path / "wrong.secret"
    right.write_bytes(b"r" * 32)
    wrong.write_bytes(b"w" * 32)
    app = create_app(
        state_factory=node.factory, superexec_auth_secret=load_superexec_auth_secret(secret_file=str(right))
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()

    def source(secret_file: Path) -> TaskSource:
        return TaskSource(
            address=f"127.0.0.1:{listener.getsockname()[1]}",
            secret_file=secret_file,
            task_type=TaskType.CLIENT_APP,
            component="flwr-clientapp",
            root_certificate=None,
        )

    try:
        yield RuntimeServer(node=node, source=source(right), stranger=source(wrong))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def counting_app(calls: list[bytes]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def answer(message: Message, _context: Context) -> Message:
        calls.append(b"called")
        return Message(pack(b"a contribution"), reply_to=message)

    return app


def run_one_task(
    runtime: RuntimeServer, app: ClientApp, approved: frozenset[str], refusing: ClientApp | None = None
) -> Message:
    token = runtime.source.acquire()
    assert token is not None
    executor._run_task(
        runtime.source.client_for(token),
        lambda sha256: app if sha256 in approved else refusing or counting_app([]),
        release_failure=lambda _reason: None,
        pulse=Pulse(),
    )
    return runtime.node.wait_for_reply()


def test_a_bundle_that_is_not_on_the_sites_list_is_refused_and_never_unpacked(
    runtime: RuntimeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved = frozenset({bundle_sha256(build_bundle())})
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    monkeypatch.setattr(zipfile, "ZipFile", _never)
    calls: list[bytes] = []
    runtime.node.give_task(b"not the bundle that this site approved")

    refusals: list[bytes] = []

    reply = run_one_task(runtime, counting_app(calls), approved, counting_app(refusals))

    assert not reply.has_error()
    assert (calls, refusals) == ([], [b"called"])
    assert not (tmp_path / "flwr").exists()


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a bundle was opened")


def test_an_approved_bundle_reaches_the_installed_app(runtime: RuntimeServer) -> None:
    calls: list[bytes] = []
    runtime.node.give_task(build_bundle())

    reply = run_one_task(runtime, counting_app(calls), frozenset({bundle_sha256(build_bundle())}))

    assert calls == [b"called"]
    assert not reply.has_error()


def test_a_program_without_the_secret_gets_no_task_of_the_site(runtime: RuntimeServer) -> None:
    runtime.node.give_task(build_bundle())

    with pytest.raises(httpx.HTTPStatusError, match="401"):
        runtime.stranger.acquire()

    assert runtime.source.acquire() is not None


def test_the_text_of_an_exception_stays_at_the_site(runtime: RuntimeServer) -> None:
    app = ClientApp()

    @app.train()
    def answer(_message: Message, _context: Context) -> Message:
        raise ValueError(PATIENT)

    runtime.node.give_task(build_bundle())

    reply = run_one_task(runtime, app, frozenset({bundle_sha256(build_bundle())}))

    assert (reply.error.code, reply.error.reason) == (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "ValueError")
    assert PATIENT not in json.dumps(vars(reply.error), default=str)
    assert all(PATIENT not in task.status.details for task in runtime.node.state.get_tasks())


def test_what_a_full_disk_keeps_out_of_the_ledger_leaves_when_there_is_space_and_not_before(
    runtime: RuntimeServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, left_before = iter([True, True, False]), list[Message]()

    def write(_reason: str) -> None:
        left_before.extend(runtime.node.state.get_messages_legacy(is_reply=True))
        if next(refusals):
            raise StoreError("The store cannot be read or written.", "Check the disk.")

    failing = ClientApp()

    @failing.train()
    def fail(_message: Message, _context: Context) -> Message:
        raise StoreError("The store cannot be read or written.", "Check the disk.")

    monkeypatch.setattr(executor, "FULL_DISK_PAUSE_S", 0.01)
    approved = frozenset({bundle_sha256(build_bundle())})
    runtime.node.give_task(build_bundle())
    token = runtime.source.acquire()
    assert token is not None

    executor._run_task(
        runtime.source.client_for(token), lambda _sha256: failing, release_failure=write, pulse=Pulse()
    )

    assert left_before == []
    (reply,) = runtime.node.state.get_messages_legacy(is_reply=True)
    assert reply.error.reason == "StoreError"
    assert "The store cannot be read or written. Check the disk." in caplog.text
    runtime.node.give_task(build_bundle())
    assert not run_one_task(runtime, counting_app([]), approved).has_error()


def test_a_task_whose_answer_did_not_reach_the_supernode_is_not_over_and_ends_without_heartbeats(
    runtime: RuntimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise httpx.ReadTimeout("slow")

    runtime.node.give_task(build_bundle())
    token = runtime.source.acquire()
    assert token is not None
    with monkeypatch.context() as patch:
        patch.setattr(executor, "push_message", break_off)
        executor._run_task(
            runtime.source.client_for(token),
            lambda _sha256: counting_app([]),
            release_failure=lambda _reason: None,
            pulse=Pulse(),
        )
    (task,) = runtime.node.state.get_tasks()
    assert task.status.status == Status.RUNNING
    assert runtime.node.state.get_messages_legacy(is_reply=True) == []

    later = flower_tasks.now() + timedelta(hours=1)
    monkeypatch.setattr(flower_tasks, "now", lambda: later)

    (reply,) = runtime.node.state.get_messages_legacy(is_reply=True)
    assert reply.error.code == ErrorCode.CLIENT_APP_CRASHED
