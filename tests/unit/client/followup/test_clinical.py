"""A table of clinical inputs: what is taken, and what is told of a line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.catalog import Catalog
from client.clinic.following import following
from client.followup.clinical import ClinicalInputs, read_clinical
from client.followup.settings import FollowUpSettings
from client.withdrawal import forget, withdraw
from shared.errors import ConfigError

HEAD = "patient_id,age,family_history,biopsies,polygenic_z,lifetime_risk_percent"
SECRET = "100156-789A"


def table(folder: Path, *lines: str, head: str = HEAD) -> Path:
    (folder / "table.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return folder / "table.csv"


def test_each_line_is_a_patient_and_an_empty_cell_is_unknown(tmp_path: Path) -> None:
    found = read_clinical(table(tmp_path, f"{SECRET},52,Yes,1,-0.7,", "", "P2,,no,,,21.5", "P3,,,,,"))

    assert found == {
        SECRET: ClinicalInputs(age=52, family_history=True, biopsies=1, polygenic_z=-0.7),
        "P2": ClinicalInputs(family_history=False, lifetime_risk_percent=21.5),
        "P3": ClinicalInputs(),
    }


def test_columns_may_be_left_out_and_stand_in_any_order(tmp_path: Path) -> None:
    assert read_clinical(table(tmp_path, "2,P1", head="biopsies, patient_id")) == {
        "P1": ClinicalInputs(biopsies=2)
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"{SECRET},abc,,,,", "age: it is not a number"),
        (f"{SECRET},121,,,,", "age: it is not between 0 and 120"),
        (f"{SECRET},51.5,,,,", "age: it is not a whole number"),
        (f"{SECRET},,maybe,,,", "family_history: it is neither yes, no nor empty"),
        (f"{SECRET},,,-1,,", "biopsies: it is not between 0 and 99"),
        (f"{SECRET},,,,nan,", "polygenic_z: it is not between -8 and 8"),
        (f"{SECRET},,,,,inf", "lifetime_risk_percent: it is not between 0 and 100"),
        (",50,,,,", "patient_id: it is empty"),
        (f"{SECRET},50", "the line: it has 2 cells and needs 6"),
        ("P1,,,,,", "patient_id: the patient was in the table before"),
    ],
)
def test_a_wrong_line_is_named_without_what_it_says(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_clinical(table(tmp_path, "P1,50,,,,", line))

    assert caught.value.message == f"Line 3 of the table, {told}. Nothing of the table was taken."
    assert SECRET not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("head", ["", "age,biopsies", "patient_id,weight", "patient_id,age,age"])
def test_a_table_of_other_columns_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(ConfigError, match="does not name its columns"):
        read_clinical(table(tmp_path, head=head))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"patient_id\n\xff\xfe")
    with pytest.raises(ConfigError, match="not CSV in UTF-8"):
        read_clinical(tmp_path / "table.csv")


def test_inputs_are_found_by_the_patients_identifier_and_go_with_the_patient(tmp_path: Path) -> None:
    with Catalog.open(tmp_path) as catalog:
        pseudonyms = catalog.pseudonyms()
        told = {pseudonyms.patient(each): ClinicalInputs(biopsies=1) for each in (SECRET, "P2")}
        assert catalog.clinical.add(told, actor="local:test", at=1.0).num_patients == 2
        follow_up = following(catalog, FollowUpSettings())
        assert follow_up is not None
        assert follow_up.inputs_of(f" {SECRET} ") == ClinicalInputs(biopsies=1)
        assert follow_up.inputs_of("unheard of") == follow_up.inputs_of("") == ClinicalInputs()

        withdraw(catalog, SECRET, actor="local:test")

        assert follow_up.inputs_of(SECRET) == ClinicalInputs()
        again = catalog.clinical.add(told, actor="local:test", at=2.0)
        assert (again.num_patients, again.num_withdrawn) == (1, 1)
        assert catalog.clinical.find(pseudonyms.patient(SECRET)) is None
        forget(catalog, actor="local:test")
        assert catalog.clinical.num_patients() == 0
        files = [path for path in tmp_path.iterdir() if path.name.startswith("site.db")]
        assert all(SECRET.encode() not in path.read_bytes() for path in files)
