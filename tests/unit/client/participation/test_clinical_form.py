"""The page's form for what is known of one woman beside her images: what it takes, and from whom."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import httpx
import pytest

from client.catalog import Catalog
from client.followup.clinical import COLUMNS, ClinicalInputs, read_clinical
from client.home import SiteHome
from client.page.clinical_form import FIELDS, MOST_BYTES
from client.page.links import mint
from client.store.audit import AuditLog, Persons
from client.store.opening import open_site_store
from client.withdrawal import withdraw
from shared.errors import ConfigError
from shared.persons.roles import Role
from tests.unit.client.participation.conftest import bearer

SECRET = "100156-789A"
FILLED_IN = {
    "patient_id": f" {SECRET}",
    "age": "52",
    "family_history": "yes",
    "biopsies": "",
    "polygenic_z": "",
}
WRONG = {
    "patient_id": (" ", "it is empty"),
    "age": ("52.5", "it is not a whole number"),
    "family_history": ("perhaps", "it is neither yes, no nor empty"),
    "biopsies": ("-1", "it is not between 0 and 99"),
    "polygenic_z": ("nan", "it is not between -8 and 8"),
    "lifetime_risk_percent": ("twenty", "it is not a number"),
}


@pytest.fixture
def form(base: str) -> str:
    return f"{base}/clinical"


def known_of(home: SiteHome, patient: str = SECRET) -> ClinicalInputs | None:
    with Catalog.open(home.folder) as catalog:
        return catalog.clinical.find(catalog.pseudonyms().patient(patient))


def num_known(home: SiteHome) -> int:
    with Catalog.open(home.folder) as catalog:
        return catalog.clinical.num_patients()


def test_what_is_filled_in_is_kept_under_the_pseudonym_and_replaces_what_was_known(
    form: str, key: str, home: SiteHome
) -> None:
    first = httpx.post(form, json={**FILLED_IN, "biopsies": "3"}, headers=bearer(key))
    again = httpx.post(form, json=FILLED_IN, headers=bearer(key))

    assert (first.status_code, again.status_code) == (200, 200)
    assert known_of(home) == ClinicalInputs(age=52, family_history=True)
    assert num_known(home) == 1
    lines = AuditLog(open_site_store(home.folder)).lines()
    assert [line.actor for line in lines if line.subject == "clinical"] == ["local:admin"] * 2


def test_each_wrong_field_is_named_and_nothing_of_the_form_is_kept_or_said_again(
    form: str, key: str, home: SiteHome
) -> None:
    answer = httpx.post(form, json={name: text for name, (text, _) in WRONG.items()}, headers=bearer(key))

    assert answer.status_code == 422
    assert answer.json()["wrong"] == {name: told for name, (_, told) in WRONG.items()}
    for said in ("52.5", "perhaps", "twenty"):
        assert said not in answer.text
    assert num_known(home) == 0


@pytest.mark.parametrize("field", [name for name in WRONG if name != "patient_id"])
def test_the_form_says_of_a_field_what_the_table_says(
    field: str, form: str, key: str, tmp_path: Path
) -> None:
    text, told = WRONG[field]
    (tmp_path / "table.csv").write_text(f"patient_id,{field}\n{SECRET},{text}\n")
    with pytest.raises(ConfigError, match=rf"Line 2 of the table, {field}: {told}\."):
        read_clinical(tmp_path / "table.csv")

    answer = httpx.post(form, json={"patient_id": SECRET, field: text}, headers=bearer(key))

    assert answer.json()["wrong"] == {field: told}


def test_the_form_has_the_fields_of_the_table() -> None:
    assert tuple(name for name, _, _ in FIELDS) == COLUMNS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        json.dumps({"patient_id": SECRET, "age": 52}).encode(),
        json.dumps({"patient_id": SECRET, SECRET: "1"}).encode(),
        json.dumps({"patient_id": SECRET * MOST_BYTES}).encode(),
    ],
)
def test_what_is_no_form_is_refused_without_being_quoted(
    body: bytes, form: str, key: str, home: SiteHome, caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.post(form, content=body, headers=bearer(key))

    assert answer.status_code == 422
    assert SECRET not in answer.json()["error"] + caplog.text
    assert num_known(home) == 0


def test_cross_site_request_forgery_a_foreign_page_fills_in_no_form_even_with_the_key(
    form: str, key: str, home: SiteHome
) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert httpx.post(form, json=FILLED_IN, headers=bearer(key, **headers)).status_code == 403

    assert num_known(home) == 0


def test_role_escalation_a_viewers_link_has_no_form_and_keeps_nothing(
    form: str, base: str, home: SiteHome
) -> None:
    home.settings_file.write_text("[follow_up]\n")
    persons = Persons(open_site_store(home.folder))
    persons.add("anna", Role.ADMINISTRATOR, actor="test", at=1.0)
    persons.add("vera", Role.VIEWER, actor="test", at=1.0)
    administrators, viewers = (
        mint(home, actor=f"person:{name}").partition("#")[2] for name in ("anna", "vera")
    )

    assert httpx.get(form, headers=bearer(administrators)).json() == {"is_open": True}
    assert httpx.get(form, headers=bearer(viewers)).json() == {"is_open": False}
    assert httpx.post(form, json=FILLED_IN, headers=bearer(viewers)).status_code == 403
    assert num_known(home) == 0


def test_a_site_that_suggests_nothing_shows_no_form(form: str, key: str) -> None:
    assert httpx.get(form, headers=bearer(key)).json() == {"is_open": False}


def test_leak_nothing_of_the_form_is_in_a_log_or_beside_its_row(
    form: str, key: str, home: SiteHome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    httpx.post(form, json={**FILLED_IN, "polygenic_z": "1.234567"}, headers=bearer(key))
    httpx.post(form, json={**FILLED_IN, "age": "1.234567"}, headers=bearer(key))

    assert known_of(home) == ClinicalInputs(age=52, family_history=True, polygenic_z=1.234567)
    assert SECRET not in caplog.text
    assert "1.234567" not in caplog.text
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert all(SECRET.encode() not in path.read_bytes() for path in files)
    log = AuditLog(open_site_store(home.folder)).lines()
    assert "1.234567" not in "".join(str(line) for line in log)


def test_of_a_woman_who_has_withdrawn_nothing_is_kept(form: str, key: str, home: SiteHome) -> None:
    httpx.post(form, json=FILLED_IN, headers=bearer(key))
    with Catalog.open(home.folder) as catalog:
        withdraw(catalog, SECRET, actor="local:test")

    answer = httpx.post(form, json=FILLED_IN, headers=bearer(key))

    assert "has withdrawn" in answer.json()["note"]
    assert num_known(home) == 0
