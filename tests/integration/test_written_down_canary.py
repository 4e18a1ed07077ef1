"""Identifiers, paths, tokens and keys planted around a site: none is in what it writes down or says.

An import, joins by wrong tokens, a person's acts and a round with a refused contribution leave lines in the
audit log, the ledger, logs and error messages. These are shown to auditors and leave for a log collector.
"""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.home import SiteHome
from client.participation import take_part
from client.workplace import open_workplace
from shared.persons.token import VARIABLE, PersonToken
from shared.records import ANNOUNCEMENT_TYPE, Announcement, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.e2e.leaks import forms_of, with_base64_opened
from tests.integration.canaries import Planted, plant
from tests.integration.member_coordinator import MemberCoordinator

COMMAND = Path(sys.executable).with_name("mammofed-site")
FOLDER_CANARY = "CANARY-HOME-FOLDER"
PLAN_CANARY = "CANARY-IN-A-PLAN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A site after all of it: what commands and logs said, what was written down, what must be in neither."""

    home: SiteHome
    said: str
    written: str
    planted: Planted
    secrets: dict[str, str]


def run(home: Path, *arguments: str, token: str = "") -> str:
    """What a command says, on both streams, whatever its exit code."""
    done = subprocess.run(
        [str(COMMAND), *arguments, "--home", str(home)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "always", VARIABLE: token},
    )
    return done.stdout + done.stderr


def refused_round(home: SiteHome, members: MemberCoordinator) -> None:
    """An announcement of a plan that cannot be read."""
    blobs, key = members.coordinator.blobs, members.coordinator.signing_key
    plan = blobs.put_bytes(f'name = "{PLAN_CANARY}"\nunknown = "{PLAN_CANARY}"\n'.encode())
    announcement = Announcement(
        occasion=Occasion(
            run_id="run-1",
            plan_sha256=plan.digest,
            round_number=1,
            attempt=1,
            phase=Phase.TRAIN,
            site_id=home.membership().site_id,
            base_digest=plan.digest,
        ),
        plan=plan,
        base=BlobRef(digest=plan.digest, size_bytes=plan.size_bytes),
        terms=None,
        counted=None,
        rejected=None,
        metrics=(),
        deadline=time.time() + 60,
        checkpoint=members.coordinator.checkpoint(),
    )
    take_part(sign(ANNOUNCEMENT_TYPE, announcement.to_bytes(), key).to_bytes(), open_workplace(home))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("canaries")
    planted = plant(folder / "hospital")
    members = MemberCoordinator(folder / "coordinator")
    home = SiteHome(folder / FOLDER_CANARY / "home")
    source = str(planted.folder)
    log = logging.FileHandler(folder / "log", delay=False)
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        ada = run(home.folder, "user", "add", "ada", "--role", "administrator").strip()
        said = [
            run(home.folder, "user", "list"),
            run(home.folder, "data", "add", source),
            run(home.folder, "data", "add", source, token=PersonToken.generate().reveal()),
            run(home.folder, "data", "add", source, token=ada[:-1]),
            run(home.folder, "data", "add", source, token=ada),
            run(home.folder, "data", "masks", "add", f"{source}/masks", "--annotator", "reader-1", token=ada),
            run(home.folder, "data", "report", "--page", str(folder / "page.html"), token=ada),
            run(home.folder, "data", "remove", "--patient", next(iter(planted.canaries)), token=ada),
        ]
        invitation = members.invite("aarhus").reveal()
        said += [
            run(home.folder, "join", invitation[:-4] + "AAAA", token=ada),
            run(home.folder, "join", ada, token=ada),
            run(home.folder, "join", invitation, token=ada),
            run(home.folder / "second", "join", invitation),
            run(home.folder, "--token-file", source, "audit", "verify", "--of", "coordinator"),
        ]
        refused_round(home, members)
        said += [run(home.folder, "audit", "verify"), run(home.folder, "data", "forget", "--yes", token=ada)]
    finally:
        logging.getLogger().removeHandler(log)
        logging.getLogger().setLevel(logging.WARNING)
    said.append((folder / "log").read_text())
    written = [
        run(home.folder, "audit", "show", "--limit", "1000"),
        run(home.folder, "audit", "show", "--limit", "1000", "--json"),
        run(home.folder, "audit", "export", token=ada),
        run(home.folder, "audit", "export", "--form", "syslog", token=ada),
        run(home.folder, "ledger"),
        run(home.folder, "ledger", "--json"),
    ]
    private = SigningKey.load(home.signing_key_file)
    key_lines = [
        line
        for file in (home.folder / "keys").rglob("*.key")
        for line in file.read_text(errors="replace").splitlines()
        if len(line) >= 40 and not line.startswith("-")
    ]
    assert private and key_lines
    yield Told(
        home=home,
        said="\n".join(said),
        written="\n".join(written),
        planted=planted,
        secrets={
            "a person's token": ada,
            "an invitation": invitation,
            "its secret": base64.b64encode(members.invite("oslo").secret.reveal()).decode(),
            "the home's path": str(home.folder),
            "the home's folder": FOLDER_CANARY,
            "the source's path": source,
            "text of a plan": PLAN_CANARY,
            **{f"key material {number}": line for number, line in enumerate(key_lines)},
        },
    )
    members.stop()


def found(told: Told, text: str) -> dict[str, str]:
    opened = with_base64_opened(text.encode())
    texts = {**{place: canary for canary, place in told.planted.canaries.items()}, **told.secrets}
    return {place: one for place, one in texts.items() if any(form in opened for form in forms_of(one))}


def test_all_of_it_happened_and_is_written_down(told: Told) -> None:
    names = (
        "person.added",
        "data.imported",
        "masks.added",
        "report.written",
        "data.removed",
        "site.joined",
        "checkpoint.kept",
        "contribution.refused",
    )
    assert [name for name in names if name not in told.written] == []
    assert '"kind": "enrolment"' in told.written
    assert '"kind": "refusal"' in told.written
    for words in ("It must be known who acts", "nobody's here", "not a person's token", "already used"):
        assert words in told.said


def test_no_canary_is_in_the_audit_log_the_ledger_or_an_export(told: Told) -> None:
    assert found(told, told.written) == {}


def test_no_canary_is_in_what_the_commands_and_logs_say(told: Told) -> None:
    assert found(told, told.said) == {}
    assert "Traceback" not in told.said


def test_no_canary_is_in_a_log_file_of_the_home(told: Told) -> None:
    files = [*told.home.folder.rglob("*.log"), *told.home.folder.glob("site.db*")]
    assert files
    for file in files:
        texts = {**{place: canary for canary, place in told.planted.canaries.items()}, **told.secrets}
        content = file.read_bytes()
        assert [place for place, one in texts.items() if one.encode() in content] == [], file.name


def test_each_canary_would_be_found(told: Told) -> None:
    everything = "\n".join([*told.planted.canaries, *told.secrets.values()])
    assert set(found(told, everything)) == {*told.planted.canaries.values(), *told.secrets}
