"""What sites are told to reach: each listener at its own port, or all three at one port by their names.

Behind one port stands a program that passes each connection on by the server name of its TLS greeting (SNI,
RFC 6066, section 3) and ends no TLS itself: client certificates and signatures reach us as sites made them.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.tables import Table

HostName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
]


class FrontSettings(Table):
    """`[front]` of `coordinator.toml`.

    Attributes
    ----------
    port
        That sites connect to.
    fleet, enrolment, transfer
        Names by which the three listeners are told apart.
    """

    port: Annotated[int, Field(ge=1, le=65535)] = 443
    fleet: HostName
    enrolment: HostName
    transfer: HostName

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({name.lower() for name in self.names}) < len(self.names):
            raise ValueError("the three names must differ")
        return self

    @property
    def names(self) -> tuple[str, str, str]:
        """All three."""
        return self.fleet, self.enrolment, self.transfer


def nginx_config(front: FrontSettings, *, listen: str, ports: tuple[int, int, int]) -> str:
    """What nginx with its `stream` and `ssl_preread` modules needs: the `stream` block of its configuration.

    Parameters
    ----------
    listen
        Where the coordinator's own listeners are.
    ports
        Theirs, in the order of `FrontSettings.names`.
    """
    targets = "\n".join(
        f"        {name.lower()} {listen}:{port};" for name, port in zip(front.names, ports, strict=True)
    )
    return f"""\
# Passes TLS on by the server's name and ends none. A greeting without one of these names gets no answer.
stream {{
    map $ssl_preread_server_name $mammofed_listener {{
{targets}
        default "";
    }}
    server {{
        listen {front.port};
        listen [::]:{front.port};
        ssl_preread on;
        preread_timeout 10s;
        proxy_pass $mammofed_listener;
        proxy_connect_timeout 5s;
        # Longer than the longest silence of a live connection.
        proxy_timeout 10m;
    }}
}}
"""
