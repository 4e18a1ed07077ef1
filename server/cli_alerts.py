"""`mammofed-coordinator alerts`: what is wrong, who has seen it, and whether the channels work."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from typing import Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import ChannelError, ConfigError
from shared.persons.roles import Action
from shared.terminal import Output

alerts_app = typer.Typer(help="Alerts: what is wrong, and who is told of it.", no_args_is_help=True)


@alerts_app.command("list")
def alerts_list(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are over and were acknowledged.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """List the alerts that somebody must still see to, newest first.

    An alert leaves this list when it is over and somebody has acknowledged it. What just happened, such as a
    round that came to nothing, is over at once.
    """
    from server.coordinator import Coordinator
    from server.monitoring.wording import moment

    alerts = Coordinator.open(CoordinatorHome(home)).alerts
    rows = [
        {
            "number": each.alert_id,
            "rule": each.rule,
            "subject": each.subject,
            "text": each.text,
            "raised": moment(each.raised_at),
            "ended": None if each.ended_at is None else moment(each.ended_at),
            "acknowledged_by": each.acknowledged_by,
        }
        for each in (alerts.all() if every else alerts.open())
    ]
    if not as_json:
        rows = [{name: "" if value is None else value for name, value in row.items()} for row in rows]
    Output(as_json).table("Alerts", rows, empty="No alert is open.")


@alerts_app.command("acknowledge")
def alerts_acknowledge(
    number: Annotated[int, typer.Argument(help="Number of the alert, from `alerts list`.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Note under your name that you have seen an alert; it stays in the list while it lasts.

    Channels tell each alert once, and once that it is over, acknowledged or not.
    """
    coordinator, actor = open_for(home, Action.ALERT_MANAGE)
    seen = coordinator.alerts.acknowledge(number, actor=actor, at=time.time())
    Output(as_json).result(
        {"number": number, "acknowledged_by": seen.acknowledged_by},
        f"Alert {number} is acknowledged by {seen.acknowledged_by}.",
    )


@alerts_app.command("test")
def alerts_test(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Send a notice that nothing is wrong by each channel now, and show which of them took it.

    The channels are those of [alerts.mail] and [alerts.webhook] in coordinator.toml.
    """
    from server.monitoring.channels import channels_of
    from server.monitoring.delivery import test_notice

    _, actor = open_for(home, Action.ALERT_MANAGE)
    channels = channels_of(CoordinatorHome(home))
    if not channels:
        raise ConfigError(
            "There is no channel to test.", "Add [alerts.mail] or [alerts.webhook] to coordinator.toml."
        )
    rows = []
    for name, channel in channels.items():
        now = time.time()
        try:
            channel.send([test_notice(name, asked_by=actor, now=now)], now=now)
            rows.append({"channel": name, "taken": True, "fault": ""})
        except (ChannelError, ConfigError) as error:
            rows.append({"channel": name, "taken": False, "fault": f"{error.message} {error.hint}"})
    Output(as_json).table("Channels", rows, empty="")
    if not all(row["taken"] for row in rows):
        raise ChannelError("A channel did not take the test notice.", "Its fault is in the list above.")
