"""What the executor writes down when a message is not followed."""

from __future__ import annotations

import logging

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from client.flower.executor import answer
from shared.errors import TrustError


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def app_that_raises(error: Exception) -> ClientApp:
    app = ClientApp()

    @app.train()
    def fail(_message: Message, _context: Context) -> Message:
        raise error

    return app


def answered(error: Exception) -> Message:
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return answer(app_that_raises(error), message, context)


def test_a_message_that_is_not_the_coordinators_leaves_one_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reply = answered(TrustError("A message is not signed by the coordinator.", "Tell the coordinator."))

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "A message is not signed by the coordinator. Tell the coordinator."
    assert record.exc_info is None
    assert reply.error.reason == "TrustError"


def test_an_unforeseen_error_leaves_its_traceback_and_only_its_type_leaves_the_site(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reply = answered(KeyError("JANSEN^ANNA"))

    (record,) = caplog.records
    assert record.exc_info is not None
    assert reply.error.reason == "KeyError"
