"""TLS 1.3 and nothing older on gRPC's listeners.

gRPC for Python has no setting for a lowest version: it offers 1.2 and 1.3. It has one for the cipher suites
of 1.2, which name the kind of the server's key; those of 1.3 do not (RFC 8446, appendix B.4). Our
certificates hold EC keys, so that a list of RSA suites alone leaves 1.2 nothing to agree on.

This module imports no gRPC, which reads the environment once, when it is first imported.
"""

from __future__ import annotations

import os
import sys

_VARIABLE = "GRPC_SSL_CIPHER_SUITES"
_RSA_ALONE = "ECDHE-RSA-AES256-GCM-SHA384"


def require_tls13() -> None:
    """Let this process agree on TLS 1.3 alone; call it before anything imports gRPC."""
    assert "grpc" not in sys.modules, "gRPC has read its environment already"
    os.environ[_VARIABLE] = _RSA_ALONE
