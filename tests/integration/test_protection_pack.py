"""The data-protection pack: what it says is what the configuration is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.catalog import Catalog
from client.cli import app as site_app
from client.followup.clinical import ClinicalInputs
from client.home import SiteHome
from client.protection import describe as describe_site
from server.cli import app as coordinator_app
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.protection import describe as describe_coordinator
from shared.audit.events import EVENTS
from shared.persons.roles import Action
from shared.protection.organisation import OrganisationSettings
from shared.protection.pack import TO_FILL_IN, Pack

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILLED = "\n".join(f'{name} = "said of {name}"' for name in OrganisationSettings.model_fields)


@pytest.fixture
def site(tmp_path: Path) -> SiteHome:
    home = SiteHome(tmp_path / "site")
    home.folder.mkdir()
    return home


@pytest.fixture
def coordinator(tmp_path: Path) -> CoordinatorHome:
    home = CoordinatorHome(tmp_path / "coordinator")
    found(home, CoordinatorSettings(name="Density study"), now=NOW.timestamp(), actor="local:test")
    return home


def cells(pack: Pack) -> str:
    return json.dumps(pack.to_json())


def test_what_the_software_cannot_know_is_asked_for(site: SiteHome) -> None:
    pack = describe_site(site, at=NOW)
    assert set(pack.open_points) == set(OrganisationSettings.model_fields) - {"joint_controllers"}
    assert TO_FILL_IN in cells(pack)
    assert "Not complete" in pack.to_page()


def test_what_the_organisation_says_stands_in_the_record_and_nothing_is_left_open(site: SiteHome) -> None:
    site.settings_file.write_text(f"[organisation]\n{FILLED}\n")
    pack = describe_site(site, at=NOW)
    assert pack.open_points == ()
    assert TO_FILL_IN not in cells(pack)
    assert all(f"said of {name}" in cells(pack) for name in OrganisationSettings.model_fields)
    assert "Not complete" not in pack.to_page()


def test_a_changed_policy_changes_the_pack(site: SiteHome) -> None:
    assert "a person approves every plan" in cells(describe_site(site, at=NOW))
    site.policy_file.write_text(
        'approval = "not needed"\n[egress]\nmetrics = ["train_loss"]\nsmallest_count = 17\n'
    )
    changed = cells(describe_site(site, at=NOW))
    assert "a person approves every plan" not in changed
    assert "Metrics that may leave: train_loss. No count below 17" in changed


def test_examples_that_are_not_encrypted_are_said_to_be_so(site: SiteHome) -> None:
    assert "AES-256-GCM for every example" in cells(describe_site(site, at=NOW))
    other = SiteHome(site.folder.parent / "other")
    other.folder.mkdir()
    other.settings_file.write_text("[intake]\nencrypted = false\n")
    assert "left to the volume" in cells(describe_site(other, at=NOW))


@pytest.mark.parametrize("side", ["site", "coordinator"])
def test_every_event_that_is_written_down_and_every_action_has_its_line(
    side: str, site: SiteHome, coordinator: CoordinatorHome
) -> None:
    pack = describe_site(site, at=NOW) if side == "site" else describe_coordinator(coordinator, at=NOW)
    logging = next(section for section in pack.sections if section.title == "Logging")
    assert [row[0] for row in logging.grids[1].rows] == sorted(EVENTS)
    assert all(row[1] for row in logging.grids[1].rows)
    persons = next(section for section in pack.sections if section.title == "Persons and roles")
    assert set(re.findall(r"[a-z]+\.[a-z]+", str(persons.grids[1].rows))) == {each.value for each in Action}


def test_the_coordinators_pack_names_its_listeners_and_that_its_log_is_whole(
    coordinator: CoordinatorHome,
) -> None:
    said = cells(describe_coordinator(coordinator, at=NOW))
    assert "ports 8443, 8444 and 8445 at 127.0.0.1" in said
    assert "whole: " in said
    assert "BROKEN" not in said


def test_a_page_runs_nothing_fetches_nothing_and_escapes_what_it_is_told(site: SiteHome) -> None:
    site.settings_file.write_text('[organisation]\nname = "<script>alert(1)</script>"\n')
    page = describe_site(site, at=NOW).to_page()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=", page)


@pytest.mark.parametrize("side", ["site", "coordinator"])
def test_the_command_writes_the_page_once_and_says_what_is_open(
    side: str, site: SiteHome, coordinator: CoordinatorHome, tmp_path: Path
) -> None:
    app, home = (site_app, site.folder) if side == "site" else (coordinator_app, coordinator.folder)
    file = tmp_path / "pack.html"
    done = CliRunner().invoke(app, ["protection-pack", str(file), "--home", str(home), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["open_points"]
    assert file.stat().st_mode & 0o777 == 0o600
    written = file.read_bytes()
    again = CliRunner().invoke(app, ["protection-pack", str(file), "--home", str(home)])
    assert again.exception is not None
    assert file.read_bytes() == written


def test_what_names_patients_in_the_clinics_node_is_told_where_there_is_one(site: SiteHome) -> None:
    assert "In the clinic" not in cells(describe_site(site, at=NOW))

    site.settings_file.write_text('[clinic]\nsend_to = "archive"\nfind_days = 5\n')
    node = cells(describe_site(site, at=NOW))
    assert "hospital's archive 'archive'" in node
    assert "clinic/, in clear, naming their patients" in node
    assert '"35 days"' in node
    assert "polygenic" not in node

    site.settings_file.write_text("[follow_up]\n")
    with Catalog.open(site.folder) as catalog:
        told = {catalog.pseudonyms().patient("P1"): ClinicalInputs(biopsies=1)}
        catalog.clinical.add(told, actor="local:test", at=1.0)
    suggestions = cells(describe_site(site, at=NOW))
    assert "lifetime risk, of 1 patients" in suggestions
    assert "DICOM node, or that" not in suggestions
