"""The report's numbers are those of the catalog."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from client.catalog import Catalog, Part
from client.reporting.measurement import measure
from client.reporting.report import describe
from shared.plan import Plan, RoundsPlan, TrainingPlan

AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
PLAN = Plan(name="pilot", rounds=RoundsPlan(count=3), training=TrainingPlan(batch_size=2))


def test_examples_with_and_without_masks_are_told_apart(filled: Catalog) -> None:
    report = describe(filled, title="North", at=AT)
    assert (report.examples, report.labelled, report.unlabelled, report.patients) == (5, 4, 1, 3)
    assert [(line.name, line.patients, line.labelled) for line in report.parts] == [
        ("training", 1, 2),
        ("validation", 1, 1),
        ("test", 1, 1),
    ]


def test_every_property_adds_up_to_all_examples_and_the_unknown_comes_last(filled: Catalog) -> None:
    breakdowns = {one.title: one.lines for one in describe(filled, title="North", at=AT).breakdowns}
    assert breakdowns == {
        "Vendor": (("GE", 3), ("IMS Giotto", 1), ("unknown", 1)),
        "View": (("CC", 4), ("MLO", 1)),
        "Laterality": (("left", 4), ("right", 1)),
        "Year": (("2020", 4), ("unknown", 1)),
        "Density category": (("b", 4), ("unknown", 1)),
        "Mask": (("breast, dense, pectoral", 4),),
    }


def test_what_is_broken_is_apart_from_what_was_a_choice(filled: Catalog) -> None:
    report = describe(filled, title="North", at=AT)
    assert [(line.reason, line.count) for line in report.of_kind(quarantined=False)] == [
        ("spot", 2),
        ("implant", 1),
    ]
    (broken,) = report.of_kind(quarantined=True)
    assert broken.reason == "undecodable"
    assert broken.remedy == "Export it again from the PACS."


def test_a_removal_is_reported_with_the_runs_that_used_it(filled: Catalog) -> None:
    filled.note_use("run-7", Part.TRAIN)
    with filled.importing():
        filled.remove_patient("p1", actor="local:test")
    report = describe(filled, title="North", at=AT)
    assert [(one.patients, one.examples, one.runs) for one in report.removals] == [(1, 3, ("run-7",))]
    assert report.tables()["Removals"][0]["used_by_runs"] == "run-7"


def test_readiness_is_there_only_with_a_plan(filled: Catalog) -> None:
    assert describe(filled, title="North", at=AT).readiness is None
    readiness = describe(filled, title="North", at=AT, plan=PLAN).readiness
    assert readiness is not None
    assert readiness.ready


def test_the_report_survives_json_with_all_its_numbers(filled: Catalog) -> None:
    with filled.importing():
        filled.remove_patient("p3", actor="local:test")
    values = json.loads(json.dumps(describe(filled, title="North", at=AT, plan=PLAN).to_json()))
    assert values["at"] == "2026-03-05T09:30:00+00:00"
    assert values["parts"]["train"] == {"patients": 1, "labelled": 2}
    assert values["breakdowns"]["View"] == {"CC": 3, "MLO": 1}
    assert values["exclusions"][0]["reason"] == "spot"
    assert values["removals"][0]["examples"] == 1
    assert values["readiness"]["ready"] is False


def test_tables_say_the_same_and_leave_out_what_is_empty(filled: Catalog) -> None:
    tables = describe(filled, title="North", at=AT, plan=PLAN).tables()
    assert tables["Split by patient"][0] == {"part": "training", "patients": 1, "with_masks": 2}
    assert tables["Quarantined"][0]["images"] == 1
    assert tables["Readiness for 'pilot'"][0]["passed"] == "yes"
    assert "Removals" not in tables


def test_an_empty_catalog_has_a_report(catalog: Catalog) -> None:
    report = describe(catalog, title="North", at=AT, plan=PLAN)
    assert (report.examples, report.exclusions, report.breakdowns) == (0, (), ())
    assert report.readiness is not None
    assert not report.readiness.ready


def test_masks_and_files_are_measured_in_the_units_that_are_named(filled: Catalog) -> None:
    seen: list[tuple[int, int]] = []
    percent, area, size, spacing = measure(filled, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    # 100, 200, 40 and 0 of 400 pixels are dense.
    assert percent.quartiles == pytest.approx((7.5, 17.5, 31.25))
    assert percent.unknown == 0
    # 400 pixels of 0.16 mm2 are 64 mm2; one mask has no spacing.
    assert area.quartiles == pytest.approx((0.64, 0.64, 0.64))
    assert area.unknown == 1
    assert size.quartiles == pytest.approx((0.4, 0.4, 0.4))
    assert sum(size.counts) == 5
    # The prepared picture was shrunk to a half, so the file's pixels measure 0.2 mm.
    assert spacing.quartiles == pytest.approx((0.2, 0.2, 0.2))
    assert (sum(spacing.counts), spacing.unknown) == (4, 1)
