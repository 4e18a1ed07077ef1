"""Alerts on their way: a real mail server, a real receiver of webhooks, a monitor that is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.demo.federation import free_ports, wait_until
from server.cli import app
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.monitoring.channels import channels_of
from server.monitoring.delivery import FIRST_PAUSE_S, OF_USE_S, deliver, pause_s
from server.monitoring.process import Monitor
from server.monitoring.rules import Finding, Judgement
from server.monitoring.settings import AlertSettings, MailSettings, Rule, WebhookSettings
from server.monitoring.webhook import key_of
from shared.errors import ChannelError, ConfigError
from shared.files import write_file
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor
from tests.integration.alert_receivers import (
    PASSWORD,
    USER,
    Authority,
    MailSink,
    WebhookReceiver,
    mail_sink,
    webhook_receiver,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G"
KEY = key_of(SECRET)
LOW = AlertSettings(disk_free_gib=100_000)
"""Finds every disk low."""


class Bench:
    """A founded home whose alerts go where a test wants them to."""

    def __init__(self, folder: Path) -> None:
        self.home = CoordinatorHome(folder)
        found(self.home, CoordinatorSettings(name="Density study"), now=time.time(), actor="test")
        self.coordinator = Coordinator.open(self.home)
        self.alerts = self.coordinator.alerts
        self.now = time.time()
        write_file(folder / "mail.password", PASSWORD.encode())
        write_file(folder / "webhook.key", SECRET.encode())

    def sends(self, **channels: object) -> None:
        settings = self.home.settings().model_copy(update={"alerts": LOW.model_copy(update=channels)})
        self.home.write_settings(settings)

    def raises(self, *texts: str) -> None:
        findings = [
            Finding(rule=Rule.ROUND_FAILED, key=text, subject="run-1", text=text, is_lasting=False)
            for text in texts
        ]
        judgement = Judgement(found=tuple(findings), untold=frozenset({"disk-low"}))
        self.alerts.follow(judgement, channels=channels_of(self.home), at=self.now)

    def delivers(self, after_s: float = 0) -> dict[str, str]:
        self.now += after_s
        failed = deliver(self.alerts, channels_of(self.home), clock=lambda: self.now, on_send=lambda: None)
        return {name: error.message for name, error in failed.items()}

    def monitor(self) -> Monitor:
        return Monitor(self.home, self.coordinator, _NoSuperLink())

    def commanded(self, *arguments: str) -> Any:
        done = CliRunner().invoke(app, ["alerts", *arguments, "--home", str(self.home.folder), "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return json.loads(done.stdout.strip().splitlines()[-1])


class _NoSuperLink:
    def contacts(self) -> dict[int, Any]:
        return {}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "folder-of-the-coordinator")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def mail_to(sink: MailSink, authority: Authority, **changes: Any) -> MailSettings:
    values: dict[str, Any] = {
        "host": "localhost",
        "port": sink.port,
        "sender": "mammofed@example.org",
        "recipients": ("it@example.org", "ada@example.org"),
        "user": USER,
        "password_file": "mail.password",
        "ca_file": str(authority.root_file),
        **changes,
    }
    return MailSettings(**values)


def webhook_to(receiver: WebhookReceiver, authority: Authority | None = None) -> WebhookSettings:
    scheme, ca_file = ("http", None) if authority is None else ("https", str(authority.root_file))
    url = f"{scheme}://localhost:{receiver.port}/mammofed"
    return WebhookSettings(url=url, secret_file="webhook.key", ca_file=ca_file)


def text_of(mail: Message) -> str:
    payload = mail.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # all of it is in TLS
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_encrypted_and_signed_in_to_everybody_and_tells_all_that_is_due(
    bench: Bench, authority: Authority, security: str
) -> None:
    with mail_sink(authority, security=security) as sink:
        bench.sends(mail=mail_to(sink, authority, security=security))
        bench.raises("Round 3 came to nothing.", "Round 4 came to nothing.")
        assert bench.delivers() == {}
        assert bench.delivers(after_s=9_999) == {}

    (mail,) = sink.mails
    assert sink.upgraded == [security == "starttls"]
    assert sink.envelopes[0].rcpt_tos == ["it@example.org", "ada@example.org"]
    assert mail["subject"] == "[Density study] 2 notices"
    assert mail["auto-submitted"] == "auto-generated"
    assert "Round 3 came to nothing." in text_of(mail)
    assert "Round 4 came to nothing." in text_of(mail)


def test_impersonation_a_mail_server_of_another_authority_gets_no_password_and_no_mail(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    another = Authority.make(tmp_path / "another")
    with mail_sink(another) as sink:
        bench.sends(mail=mail_to(sink, authority))
        bench.raises("Round 3 came to nothing.")
        failed = bench.delivers()

    assert failed == {"mail": "No encrypted connection to the mail server came about."}
    assert sink.mails == []


def test_downgrade_a_mail_server_that_offers_no_encryption_gets_nothing(
    bench: Bench, authority: Authority
) -> None:
    with mail_sink(authority, security="none") as sink:
        bench.sends(mail=mail_to(sink, authority))
        bench.raises("Round 3 came to nothing.")
        failed = bench.delivers()

    assert failed == {"mail": "The mail server does not offer what the settings ask for."}
    assert sink.mails == []


def test_what_a_mail_server_says_of_credentials_and_recipients_is_in_no_message(
    bench: Bench, authority: Authority
) -> None:
    with mail_sink(authority) as sink:
        sink.refuses = True
        bench.sends(mail=mail_to(sink, authority))
        with pytest.raises(ChannelError):
            bench.commanded("test")
        bench.raises("Round 3 came to nothing.")
        assert bench.delivers() == {"mail": "The mail server did not take the message."}
        write_file(bench.home.folder / "mail.password", b"a wrong one")
        assert bench.delivers(after_s=9_999) == {"mail": "The mail server refuses the sign-in."}


def test_a_webhook_gets_each_notice_by_itself_signed_and_in_order(bench: Bench, authority: Authority) -> None:
    with webhook_receiver(authority) as receiver:
        bench.sends(webhook=webhook_to(receiver, authority))
        bench.raises("Round 3 came to nothing.", "Round 4 came to nothing.")
        assert bench.delivers() == {}

    assert [post.notice["alert"]["text"] for post in receiver.posts] == [
        "Round 3 came to nothing.",
        "Round 4 came to nothing.",
    ]
    assert all(post.is_signed_with(KEY) for post in receiver.posts)
    assert not receiver.posts[0].is_signed_with(KEY[:-1] + b"x")
    assert [post.notice["id"] for post in receiver.posts] == receiver.ids
    assert len(set(receiver.ids)) == 2
    assert abs(int(receiver.posts[0].headers["webhook-timestamp"]) - bench.now) < 2
    assert receiver.posts[0].notice["federation"] == "Density study"


def test_impersonation_a_receiver_of_another_authority_is_sent_nothing(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    with webhook_receiver(Authority.make(tmp_path / "another")) as receiver:
        bench.sends(webhook=webhook_to(receiver, authority))
        bench.raises("Round 3 came to nothing.")

        assert bench.delivers() == {"webhook": "The webhook's receiver does not answer."}
        assert receiver.posts == []


def test_a_receiver_that_points_elsewhere_is_not_followed(bench: Bench) -> None:
    with webhook_receiver() as receiver:
        receiver.status = 307
        bench.sends(webhook=webhook_to(receiver))
        bench.raises("Round 3 came to nothing.")

        assert bench.delivers() == {"webhook": "The webhook's receiver answered with status 307."}
        assert len(receiver.posts) == 1


def test_a_channel_that_fails_is_tried_later_and_later_and_is_in_no_others_way(
    bench: Bench, authority: Authority
) -> None:
    with mail_sink(authority) as sink, webhook_receiver() as receiver:
        receiver.status = 500
        bench.sends(mail=mail_to(sink, authority), webhook=webhook_to(receiver))
        bench.raises("Round 3 came to nothing.", "Round 4 came to nothing.")
        assert bench.delivers() == {"webhook": "The webhook's receiver answered with status 500."}
        assert len(sink.mails) == 1

        assert bench.delivers(after_s=FIRST_PAUSE_S - 1) == {}  # not yet
        assert len(receiver.posts) == 1
        assert bench.delivers(after_s=1) != {}
        assert bench.delivers(after_s=2 * FIRST_PAUSE_S - 1) == {}
        receiver.status = 204
        assert bench.delivers(after_s=1) == {}

        assert len(receiver.posts) == 4  # two in vain, then each of the two once
        assert receiver.ids[0] == receiver.ids[1] == receiver.ids[2]
        assert len(sink.mails) == 1


def test_pauses_double_up_to_an_hour_and_a_notice_of_three_days_ago_is_dropped(bench: Bench) -> None:
    assert [pause_s(tries) for tries in (1, 2, 3, 9, 99)] == [15, 30, 60, 3600, 3600]

    with webhook_receiver() as receiver:
        bench.sends(webhook=webhook_to(receiver))
        bench.raises("Round 3 came to nothing.")
        assert bench.delivers(after_s=OF_USE_S + 1) == {}
        assert receiver.posts == []
        assert bench.alerts.num_unsent("webhook") == 0
        assert [each.text for each in bench.alerts.open()] == ["Round 3 came to nothing."]


def test_a_key_that_others_may_read_or_that_is_short_signs_nothing(bench: Bench) -> None:
    with webhook_receiver() as receiver:
        bench.sends(webhook=webhook_to(receiver))
        bench.raises("Round 3 came to nothing.")
        (bench.home.folder / "webhook.key").chmod(0o644)
        failed = bench.delivers()["webhook"]
        assert failed == "The file with the key of the webhook is open to other users of this machine."
        write_file(bench.home.folder / "webhook.key", b"short")
        assert bench.delivers(after_s=9_999) == {"webhook": "The key of the webhook has fewer than 24 bytes."}
        assert receiver.posts == []


def test_the_monitor_raises_tells_and_ends_and_a_channel_that_fails_stops_nothing_of_it(
    bench: Bench,
) -> None:
    with webhook_receiver() as receiver:
        bench.sends(webhook=webhook_to(receiver))
        (bench.home.folder / "webhook.key").chmod(0o644)
        bench.monitor().look()
        assert [each.rule for each in bench.alerts.open()] == ["disk-low"]
        assert receiver.posts == []

        (bench.home.folder / "webhook.key").chmod(0o600)
        settings = bench.home.settings()
        calm = settings.alerts.model_copy(update={"off": (Rule.DISK_LOW,)})
        bench.home.write_settings(settings.model_copy(update={"alerts": calm}))
        monitor = bench.monitor()
        monitor._clock = lambda: time.time() + 9_999
        monitor.look()

    kinds = [(post.notice["kind"], post.notice["alert"]["rule"]) for post in receiver.posts]
    assert kinds == [("raised", "disk-low"), ("ended", "disk-low")]


def test_no_alert_holds_a_path_a_secret_or_an_address(bench: Bench) -> None:
    with webhook_receiver() as receiver:
        bench.sends(webhook=webhook_to(receiver))
        bench.monitor().look()

    sent = receiver.posts[0].body.decode()
    for canary in (str(bench.home.folder), bench.home.folder.name, SECRET, PASSWORD, "127.0.0.1"):
        assert canary not in sent


class TestCommands:
    def test_alerts_are_listed_and_acknowledged_under_a_persons_name(self, bench: Bench) -> None:
        bench.raises("Round 3 came to nothing.")
        (row,) = bench.commanded("list")
        assert row["text"] == "Round 3 came to nothing."
        assert row["acknowledged_by"] is None

        seen = bench.commanded("acknowledge", str(row["number"]))
        assert seen["acknowledged_by"].startswith("local:")
        assert bench.commanded("list") == []
        assert [each["number"] for each in bench.commanded("list", "--all")] == [row["number"]]
        (line,) = [each for each in bench.coordinator.audit.lines() if each.name == "alert.acknowledged"]
        assert (line.actor, line.details) == (seen["acknowledged_by"], {"rule": "round-failed"})

    def test_a_test_goes_out_by_every_channel_and_raises_nothing(
        self, bench: Bench, authority: Authority
    ) -> None:
        with mail_sink(authority) as sink, webhook_receiver(authority) as receiver:
            bench.sends(mail=mail_to(sink, authority), webhook=webhook_to(receiver, authority))
            rows = bench.commanded("test")

        assert [(row["channel"], row["taken"]) for row in rows] == [("mail", True), ("webhook", True)]
        assert sink.mails[0]["subject"] == "[Density study] test: coordinator"
        assert receiver.posts[0].notice["alert"]["rule"] == "test"
        assert bench.alerts.all() == []

    def test_without_a_channel_a_test_says_what_to_add(self, bench: Bench) -> None:
        with pytest.raises(ConfigError, match="no channel"):
            bench.commanded("test")


@pytest.fixture
def supervisor(bench: Bench) -> Iterator[Supervisor]:
    program = Program(
        name="monitor",
        module="server.monitoring.process",
        arguments=[str(bench.home.folder)],
        environment=flower_environment(bench.home.flower / "monitor"),
        log_file=bench.home.logs / "monitor.log",
        has_pulse=True,
    )
    supervisor = Supervisor([program])
    yield supervisor
    supervisor.stop()


@pytest.mark.slow
def test_a_monitor_that_is_killed_loses_no_notice_and_sends_none_twice(
    bench: Bench, supervisor: Supervisor
) -> None:
    port = free_ports(1)
    bench.sends(webhook=webhook_to(WebhookReceiver(port)))  # nobody answers there yet
    supervisor.tend()
    wait_until(lambda: bench.alerts.num_unsent("webhook") == 1, 60, "an alert that cannot be sent")
    supervisor.kill("monitor")
    waiting = bench.alerts.due("webhook", at=time.time() + 9_999)
    bench.alerts.postpone(waiting, until=time.time())

    with webhook_receiver() as receiver:
        bench.sends(webhook=webhook_to(receiver))

        def is_sent() -> bool:
            supervisor.tend()
            return bench.alerts.num_unsent("webhook") == 0

        wait_until(is_sent, 90, "the notice of before")
        supervisor.kill("monitor")
        bench.raises("Round 3 came to nothing.")
        wait_until(is_sent, 90, "the notice of after")

    assert [(post.notice["alert"]["rule"], post.notice["kind"]) for post in receiver.posts] == [
        ("disk-low", "raised"),
        ("round-failed", "raised"),
    ]
