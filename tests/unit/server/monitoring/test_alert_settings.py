"""`[alerts]` of coordinator.toml: what is refused, and by which words."""

from __future__ import annotations

import pytest

from server.home import CoordinatorSettings
from server.monitoring.settings import Rule
from shared.errors import ConfigError
from shared.tables import read_table

MAIL = """
[alerts.mail]
host = "smtp.example.org"
sender = "mammofed@example.org"
recipients = ["it@example.org"]
"""
WEBHOOK = """
[alerts.webhook]
url = "https://hooks.example.org/mammofed?a=b"
secret_file = "webhook.key"
"""


def read(text: str) -> CoordinatorSettings:
    return read_table(
        CoordinatorSettings, f'name = "Test"\n{text}', what="coordinator.toml", error=ConfigError
    )


def test_rules_and_channels_are_read_as_they_are_written() -> None:
    alerts = read(f'[alerts]\noff = ["metric-dropped"]\nsite_offline_minutes = 5\n{MAIL}{WEBHOOK}').alerts

    assert alerts.off == (Rule.METRIC_DROPPED,)
    assert alerts.site_offline_minutes == 5
    assert alerts.channels == ("mail", "webhook")


def test_without_a_table_the_rules_stand_and_nobody_is_told() -> None:
    alerts = read("").alerts

    assert alerts.channels == ()
    assert alerts.off == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[alerts]\nsite_ofline_minutes = 5", "unknown setting 'alerts.site_ofline_minutes'"),
        (f'{MAIL}pasword_file = "x"', "unknown setting 'alerts.mail.pasword_file'"),
        (f'{MAIL}password = "secret-of-the-server"', "unknown setting 'alerts.mail.password'"),
        (f'{MAIL}user = "mammofed"', "user and password_file go together"),
        (f'{MAIL}security = "none"', "needs security starttls or tls"),
        (MAIL.replace("it@example.org", "it@example.org\\nBcc: x@example.org"), "recipients"),
        (WEBHOOK.replace("https://", "http://"), "needs https"),
        (WEBHOOK.replace("https://", "https://user:word@"), "names a host, and no user"),
        (WEBHOOK.replace("https://", "file:///"), "url"),
        ('[alerts]\noff = ["everything"]', "alerts.off"),
    ],
)
def test_what_is_unknown_or_unsafe_is_refused_and_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)

    assert message in refused.value.message
    assert "secret-of-the-server" not in refused.value.message


def test_mail_may_go_unencrypted_to_this_very_machine() -> None:
    mail = read(MAIL.replace("smtp.example.org", "127.0.0.1") + 'security = "none"').alerts.mail

    assert mail is not None
    assert mail.security == "none"
