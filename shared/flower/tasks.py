"""Taking tasks from a Flower Runtime API with a shared secret, in place of Flower's own launcher."""

from __future__ import annotations

from pathlib import Path

from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient

POLL_S = 0.1
"""Pause between two looks for a task: well under 200 ms, and idle in between."""

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class TaskSource:
    """The tasks of one kind at one Runtime API.

    Parameters
    ----------
    address
        `host:port` on loopback.
    secret_file
        The secret that the Runtime API was started with.
    task_type
        Flower's name of the kind of task.
    component
        Flower's name of the component that takes them, for its version check.
    root_certificate
        PEM, or None for a Runtime API without TLS.
    """

    def __init__(
        self,
        *,
        address: str,
        secret_file: Path,
        task_type: str,
        component: str,
        root_certificate: bytes | None,
    ) -> None:
        self._address = address
        self._task_type = task_type
        self._component = component
        self._root_certificate = root_certificate
        secret = load_superexec_auth_secret(secret_file=str(secret_file))
        assert secret is not None  # a file was named
        # Without Flower's own retries, which would keep a process in one call while the other side is away.
        self._client = self._connect(
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({_ACQUIRE})),
            retry_invoker=None,
        )

    def acquire(self) -> str | None:
        """The token of the oldest waiting task, or None.

        Raises
        ------
        httpx.HTTPError
            The Runtime API does not answer, or refuses.
        """
        reply = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[self._task_type]))
        return reply.token if reply.HasField("task") and reply.token else None

    def client_for(self, token: str) -> RuntimeHttpClient:
        """A client that speaks for one task."""
        return self._connect(
            RuntimeTokenHttpInterceptor(token), retry_invoker=make_simple_http_retry_invoker()
        )

    def _connect(
        self,
        authentication: SuperExecAuthHttpInterceptor | RuntimeTokenHttpInterceptor,
        *,
        retry_invoker: RetryInvoker | None,
    ) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self._address,
            insecure=self._root_certificate is None,
            root_certificates=self._root_certificate,
            interceptors=[RuntimeVersionHttpInterceptor(component_name=self._component), authentication],
            retry_invoker=retry_invoker,
        )
