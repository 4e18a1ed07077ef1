"""The main job from an empty folder to a measured mammogram, through the command lines alone."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import client.cli
import server.cli
from shared.errors import HistoryError, TamperedError, TrustError
from shared.package import MANIFEST, MANIFEST_TYPE, SIGNATURE
from shared.plan import Plan
from shared.supplements import SupplementKind
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.e2e.small_federation import (
    PORTS,
    VENDORS,
    SmallFederation,
    listening_ports,
    processes_of,
    updates_of,
)

ROUNDS = 3
MAX_LOSS_RATIO = 0.75
"""Loss of the last round's incoming weights to that of the first's. Without aggregation it stays at 1."""

MIN_BREAST_DICE = 0.6
"""On images that no site trained on. The initial weights come to about 0.05."""

MIN_OVERLAY_PX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run: its plan, its JSON lines, what `run show` says, its downloaded model, what it added to logs."""

    plan: Path
    lines: list[dict[str, Any]]
    shown: Any
    model: Path
    logs: dict[Path, str]


@pytest.fixture(scope="module")
def finished_runs() -> dict[Path, FinishedRun]:
    """The run of each federation, once."""
    return {}


@pytest.fixture
def finished(
    federation: SmallFederation,
    finished_runs: dict[Path, FinishedRun],
    tmp_path_factory: pytest.TempPathFactory,
) -> FinishedRun:
    if federation.folder not in finished_runs:
        plan = federation.write_plan("main-job", rounds=ROUNDS, local_epochs=8, learning_rate=0.01)
        logs_before = federation.logs()
        lines = [
            json.loads(line)
            for line in federation.coordinator.run("run", "start", str(plan), "--json").splitlines()
        ]
        model = tmp_path_factory.mktemp("model") / "downloaded"
        federation.coordinator.run("model", "download", lines[-1]["model_id"], "--output", str(model))
        finished_runs[federation.folder] = FinishedRun(
            plan=plan,
            lines=lines,
            shown=federation.coordinator.ask("run", "show", lines[-1]["run_id"]),
            model=model,
            logs={
                file: text.removeprefix(logs_before.get(file, "")) for file, text in federation.logs().items()
            },
        )
    return finished_runs[federation.folder]


def test_every_hospital_passes_its_check(federation: SmallFederation) -> None:
    found = federation.sites["hospital-lake"].ask("check")

    assert all(check["passed"] for check in found), found
    assert {check["name"] for check in found} >= {
        "membership",
        "fleet port",
        "transfer port",
        "training step",
    }
    listed = federation.coordinator.ask("site", "list")
    assert {(row["name"], row["state"]) for row in listed} == {(name, "active") for name in VENDORS}


def test_every_site_is_admitted_in_every_round(finished: FinishedRun) -> None:
    rounds = [line for line in finished.lines if line["event"] == "round"]
    assert [(line["number"], line["sites_asked"], line["sites_admitted"]) for line in rounds] == [
        (number, len(VENDORS), len(VENDORS)) for number in range(1, ROUNDS + 1)
    ]
    assert finished.lines[-1]["event"] == "finished"
    assert finished.shown["state"] == "finished"
    assert [one["attempt"] for one in finished.shown["rounds"]] == [1] * ROUNDS
    for one in [*finished.shown["rounds"], {"parts": finished.shown["test"]}]:
        assert {part["site"]: part["state"] for part in one["parts"]} == dict.fromkeys(VENDORS, "admitted")


def value(evaluation: dict, measure: str) -> float:
    return evaluation["measures"][measure]["value"]


def test_the_global_model_learns_from_round_to_round(finished: FinishedRun) -> None:
    incoming = [value(one["incoming"], "loss") for one in finished.shown["rounds"]]

    assert incoming == sorted(incoming, reverse=True), incoming
    assert incoming[-1] < MAX_LOSS_RATIO * incoming[0], incoming
    for part in finished.shown["test"]:
        assert value(part["evaluation"], "dice_breast") > MIN_BREAST_DICE, part
        assert value(part["evaluation"], "loss") < MAX_LOSS_RATIO * incoming[0], part


def test_the_published_model_is_listed_downloaded_and_verified(
    federation: SmallFederation, finished: FinishedRun
) -> None:
    model_id = finished.lines[-1]["model_id"]
    (listed,) = [row for row in federation.coordinator.ask("model", "list") if row["model_id"] == model_id]
    verified = federation.coordinator.ask("model", "verify", str(finished.model))

    assert verified == {
        "model_id": model_id,
        "manifest_sha256": listed["manifest_sha256"],
        "verified": True,
        "supplements": [kind.value for kind in SupplementKind],
    }
    plan = Plan.from_toml(finished.plan.read_text())
    assert listed["run_id"] == finished.shown["run_id"]
    assert plan.sha256 == finished.shown["plan_sha256"]
    manifest = json.loads((finished.model / MANIFEST).read_text())
    assert {file.name for file in finished.model.iterdir()} == {
        MANIFEST,
        SIGNATURE,
        *(file["name"] for file in manifest["files"]),
        *(kind.file for kind in SupplementKind),
    }


def test_one_flipped_byte_in_any_file_of_the_model_is_refused(
    federation: SmallFederation, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sorted(finished.model.iterdir()):
        copy = tmp_path / file.name
        shutil.copytree(finished.model, copy)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        (copy / file.name).write_bytes(content)
        command = ["mammofed-coordinator", "model", "verify", str(copy)]
        monkeypatch.setattr(sys, "argv", [*command, "--home", str(federation.coordinator.home)])

        with pytest.raises(SystemExit) as ended:
            server.cli.main()

        assert ended.value.code == TamperedError.exit_code, file.name


def test_a_site_segments_a_mammogram_with_the_model(
    federation: SmallFederation, finished: FinishedRun, tmp_path: Path
) -> None:
    hospital = federation.hospitals[0]
    image = hospital.images[-1]
    overlay = tmp_path / "overlay.png"

    report = federation.sites[hospital.name].ask(
        "segment", str(image.image_path), "--model", str(finished.model), "--overlay", str(overlay)
    )

    assert 0 < report["percent_density"] < 100
    assert report["model_id"] == finished.lines[-1]["model_id"]
    assert report["breast_area_mm2"] > report["dense_area_mm2"] > 0
    with Image.open(overlay) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > MIN_OVERLAY_PX
    assert image.patient_id not in json.dumps(report)
    assert image.patient_name not in json.dumps(report)


def test_a_site_refuses_a_model_that_another_coordinator_has_signed(
    federation: SmallFederation, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = federation.hospitals[0]
    foreign = tmp_path / "model"
    shutil.copytree(finished.model, foreign)
    manifest = (foreign / MANIFEST).read_bytes()
    (foreign / SIGNATURE).write_bytes(sign(MANIFEST_TYPE, manifest, SigningKey.generate()).to_bytes())
    overlay = tmp_path / "overlay.png"
    command = ["mammofed-site", "segment", str(hospital.images[0].image_path), "--model", str(foreign)]
    home = str(federation.sites[hospital.name].home)
    monkeypatch.setattr(sys, "argv", [*command, "--overlay", str(overlay), "--home", home])

    with pytest.raises(SystemExit) as ended:
        client.cli.main()

    assert ended.value.code == TrustError.exit_code
    assert not overlay.exists()


def test_no_log_of_the_run_holds_a_traceback(finished: FinishedRun) -> None:
    assert any("step" in text for text in finished.logs.values())
    assert not [file for file, text in finished.logs.items() if "Traceback" in text]


def test_each_side_holds_the_others_exported_log_against_what_it_was_shown(
    federation: SmallFederation, finished: FinishedRun, tmp_path: Path
) -> None:
    lake = federation.sites["hospital-lake"]
    (row,) = [row for row in federation.coordinator.ask("site", "list") if row["name"] == "hospital-lake"]
    pairs = [(federation.coordinator, lake, row["site_id"]), (lake, federation.coordinator, "coordinator")]

    for holder, other, name in pairs:
        assert holder.ask("audit", "verify")["holds"]
        export = tmp_path / f"{name}.jsonl"
        export.write_text(other.run("audit", "export"))
        found = holder.ask("audit", "verify", "--of", name, "--log", str(export))
        assert found["holds"]
        assert found["checkpoints"] > ROUNDS


def test_an_exported_log_with_a_tampered_line_is_found_out_by_the_other_side(
    federation: SmallFederation, finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = federation.coordinator.run("audit", "export").splitlines(keepends=True)
    export = tmp_path / "coordinator.jsonl"
    export.write_text("".join(exported).replace('"event":"site.enrolled"', '"event":"site.rejected"', 1))
    command = ["mammofed-site", "audit", "verify", "--of", "coordinator", "--log", str(export)]
    home = str(federation.sites["hospital-lake"].home)
    monkeypatch.setattr(sys, "argv", [*command, "--home", home])

    with pytest.raises(SystemExit) as ended:
        client.cli.main()

    assert ended.value.code == HistoryError.exit_code


def test_the_run_is_in_every_log_and_each_update_in_its_sites_ledger(
    federation: SmallFederation, finished: FinishedRun
) -> None:
    run_id = finished.shown["run_id"]
    told = federation.coordinator.ask("audit", "show", "--limit", "10000")
    of_run = [line["event"] for line in told if line["subject"] == run_id]
    assert of_run[0] == "run.submitted"
    assert of_run[-1] == "run.finished"
    assert of_run.count("answer.admitted") == len(VENDORS) * (1 + ROUNDS + 1)  # count, rounds, test
    assert {"model.published", "model.downloaded", "checkpoint.kept"} <= {line["event"] for line in told}
    for role in federation.sites.values():
        left = role.ask("ledger", "--run", run_id)
        rounds = ["update", "contribution"] * ROUNDS
        assert [line["kind"] for line in left] == ["contribution", *rounds, "contribution"]
        assert (left[0]["phase"], left[0]["round_number"]) == ("count", 0)
        assert all(line["tensors"] for line in left if line["kind"] == "update")
        released = [
            line["details"]["sha256"]
            for line in role.ask("audit", "show", "--event", "contribution.released", "--limit", "10000")
            if line["subject"] == run_id
        ]
        assert released == [line["sha256"] for line in left if line["kind"] == "contribution"]


@pytest.mark.slow
def test_a_finished_run_is_extended_from_its_model_by_a_plan_that_sites_approve(
    federation: SmallFederation, finished: FinishedRun
) -> None:
    parent = finished.shown["run_id"]

    lines = [
        json.loads(line)
        for line in federation.coordinator.run(
            "run", "extend", parent, "--rounds", "1", "--learning-rate", "0.001", "--json"
        ).splitlines()
    ]

    run_id = lines[-1]["run_id"]
    (one,) = federation.coordinator.ask("run", "show", run_id)["rounds"]
    assert {part["site"]: part["state"] for part in one["parts"]} == dict.fromkeys(VENDORS, "admitted")
    # It began where the other had ended, and with the weights that its sites had: nobody was counted anew.
    assert value(one["incoming"], "loss") < value(finished.shown["rounds"][-1]["incoming"], "loss")
    shown = federation.sites["hospital-lake"].ask("plan", "show", run_id)
    assert (shown["plan"]["extends"], shown["compared_with"]) == ([parent], parent)
    assert shown["parent"] == finished.shown["plan_sha256"]
    weights = json.loads((finished.model / MANIFEST).read_text())["files"]
    assert shown["plan"]["initial_weights"] in {each["sha256"] for each in weights}
    phases = {line["phase"] for line in federation.sites["hospital-lake"].ask("ledger", "--run", run_id)}
    assert phases == {"train", "evaluate"}
    assert {row["run_id"] for row in federation.coordinator.ask("model", "list")} >= {parent, run_id}


def test_what_a_site_sends_of_its_weights_is_at_most_half_of_float32_and_goes_once(
    federation: SmallFederation, finished: FinishedRun
) -> None:
    for role in federation.sites.values():
        updates = updates_of(role, finished.shown["run_id"])

        assert len(updates) == len({update.sha256 for update in updates}) == ROUNDS
        assert max(update.share_of_float32 for update in updates) <= 0.5, updates


def test_nothing_is_left_running_or_listening_after_a_stop(federation: SmallFederation) -> None:
    ports = set(range(federation.first_port, federation.first_port + PORTS)) | set(federation.runtime_ports())
    assert len(ports) == PORTS + len(VENDORS)
    assert ports <= listening_ports()
    assert all(processes_of(role.home) for role in federation.roles)

    federation.stop_all()

    assert [process for role in federation.roles for process in processes_of(role.home)] == []
    assert ports.isdisjoint(listening_ports())
