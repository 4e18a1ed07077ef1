"""The channels that a home's settings name."""

from __future__ import annotations

from server.home import CoordinatorHome
from server.monitoring.channel import Channel, Channels
from server.monitoring.mail import Mail
from server.monitoring.settings import MAIL, WEBHOOK
from server.monitoring.webhook import Webhook


def channels_of(home: CoordinatorHome) -> Channels:
    """By name. Raises HomeError and ConfigError as `CoordinatorHome.settings` does."""
    settings = home.settings()
    console = settings.console_address if settings.console_port is not None else None
    channels: dict[str, Channel] = {}
    if settings.alerts.mail is not None:
        channels[MAIL] = Mail(
            settings.alerts.mail, folder=home.folder, federation=settings.name, console=console
        )
    if settings.alerts.webhook is not None:
        channels[WEBHOOK] = Webhook(settings.alerts.webhook, folder=home.folder, federation=settings.name)
    return channels
