"""The main job on one machine: a coordinator and three hospitals train together.

    python -m deploy.demo.run                       three hospitals' phantom mammograms, made on the spot
    python -m deploy.demo.run --data FOLDER         open data: a research archive with a `site` column
    python -m deploy.demo.run --quick               a shortened form

Every step is a documented command, printed before it runs.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.demo.federation import CommandError, Role, coordinator, free_ports, site, stopped_at_end
from deploy.demo.phantoms.three_hospitals import write_hospitals

HERE = Path(__file__).parent
MARKER = ".mammofed-demo"
NUM_PATIENTS, NUM_PATIENTS_QUICK = 8, 5
SEED = 2026
POLICY = "data.min_examples = 1\negress.smallest_count = 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A hospital's name, its folder of mammograms, and one image to segment at the end."""

    name: str
    folder: Path
    image: Path


def main() -> None:
    """Run the demo; exit code 0 if every command succeeded."""
    options = _parse()
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        _run(options, console)
    except CommandError as error:
        console.print(f"The demo stopped: {error}", style="red", markup=False)
        sys.exit(1)
    console.print(f"Done in {time.monotonic() - began:.0f} s.")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="research archive: index.csv with image, label, site")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="replaced if it is a demo's")
    parser.add_argument("--quick", action="store_true", help="fewer images, rounds and steps")
    parser.add_argument("--floor", type=float, default=0.0, help="least dense Dice that is no failure")
    return parser.parse_args()


def _run(options: argparse.Namespace, console: Console) -> None:
    output = _fresh(options.output.resolve())
    plan = HERE / f"{'films' if options.data else 'phantoms'}{'_quick' if options.quick else ''}.toml"
    if options.data:
        hospitals = _split_archive(options.data.resolve(), output / "data")
    else:
        hospitals = _make_phantoms(output / "data", NUM_PATIENTS_QUICK if options.quick else NUM_PATIENTS)
    demo = _Demo(console=console, coordinator=coordinator(output / "coordinator"))
    sites = [site(output / hospital.name) for hospital in hospitals]
    with stopped_at_end(demo.coordinator, *sites):
        _found(demo)
        for hospital, role in zip(hospitals, sites, strict=True):
            _join(demo, hospital, role)
        model_id, run = _train(demo, sites, plan, options.floor)
        model = output / "model"
        demo.show(demo.coordinator, "model", "download", model_id, "--output", str(model))
        demo.show(demo.coordinator, "model", "verify", str(model))
        overlays = [
            _segment(demo, role, hospital, model, output / "overlays")
            for hospital, role in zip(hospitals, sites, strict=True)
        ]
    _tell(console, model, overlays, run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    """Prints each command before it runs."""

    console: Console
    coordinator: Role

    def show(self, role: Role, *arguments: str) -> None:
        self._announce(role, arguments)
        role.follow(*arguments)

    def ask(self, role: Role, *arguments: str) -> str:
        self._announce(role, arguments)
        return role.run(*arguments).strip()

    def start(self, role: Role) -> None:
        self._announce(role, ("serve",))
        role.start()

    def _announce(self, role: Role, arguments: Sequence[str]) -> None:
        words = " ".join(word if len(word) < 80 else f"{word[:12]}..." for word in arguments)
        self.console.print(f"\n{role.home.name} $ {role.command} {words}", style="bold cyan", markup=False)


def _found(demo: _Demo) -> None:
    first_port = str(free_ports(5))
    demo.show(demo.coordinator, "init", "--name", "Demo federation", "--first-port", first_port)
    demo.start(demo.coordinator)


def _join(demo: _Demo, hospital: Hospital, role: Role) -> None:
    token = demo.ask(demo.coordinator, "site", "invite", hospital.name)
    demo.show(role, "join", token)
    policy = role.home / "policy.toml"
    policy.write_text(POLICY)
    demo.console.print(f"{role.home.name}: policy.toml lets so small a hospital tell its counts", style="dim")
    demo.show(role, "policy", "show")
    demo.show(role, "data", "add", str(hospital.folder))
    demo.show(role, "check")
    demo.start(role)


def _train(demo: _Demo, sites: Sequence[Role], plan: Path, floor: float) -> tuple[str, dict[str, Any]]:
    """Run the plan; returns the model's id and the run as it is shown."""
    demo.show(demo.coordinator, "run", "start", str(plan), "--detach")
    (run,) = demo.coordinator.ask("run", "list")
    demo.show(sites[0], "plan", "show", run["run_id"])
    for role in sites:
        demo.show(role, "plan", "approve", run["run_id"])
    demo.show(demo.coordinator, "run", "watch", run["run_id"])
    demo.show(demo.coordinator, "run", "show", run["run_id"])
    shown = demo.coordinator.ask("run", "show", run["run_id"])
    if not shown["test_of_all"] or _value(shown["test_of_all"], "dice_dense") < floor:
        raise CommandError(f"the global model's dense Dice is below the floor of {floor}")
    demo.show(demo.coordinator, "model", "list")
    (model,) = demo.coordinator.ask("model", "list")
    return str(model["model_id"]), shown


def _value(evaluation: dict[str, Any], measure: str) -> float:
    return float(evaluation["measures"][measure]["value"])


def _segment(demo: _Demo, role: Role, hospital: Hospital, model: Path, overlays: Path) -> Path:
    overlay = overlays / f"{hospital.name}.png"
    demo.show(role, "segment", str(hospital.image), "--model", str(model), "--overlay", str(overlay))
    return overlay


def _tell(console: Console, model: Path, overlays: Sequence[Path], run: dict[str, Any]) -> None:
    table = Table(title="Results", title_justify="left", show_header=False, box=None)
    table.add_row("model", str(model / "weights.safetensors"))
    table.add_row("model card", str(model / "model_card.md"))
    table.add_row("learning curves", str(model / "learning_curves.png"))
    for overlay in overlays:
        table.add_row("overlay", str(overlay))
    for part in run["test"]:
        if evaluation := part["evaluation"]:
            table.add_row(
                f"dense Dice, {part['site']}",
                f"{_value(evaluation, 'dice_dense'):.3f} on {evaluation['num_examples']} test images",
            )
    console.print()
    console.print(table)


def _fresh(output: Path) -> Path:
    """An empty folder; an older demo's is replaced, anything else is left alone."""
    if output.exists() and any(output.iterdir()):
        if not (output / MARKER).exists():
            raise CommandError("the output folder holds something else than a demo; name another one")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()
    return output


def _make_phantoms(folder: Path, num_patients: int) -> list[Hospital]:
    folders = write_hospitals(folder, patients=num_patients, seed=SEED)
    return [
        Hospital(name=each.name, folder=each, image=min((each / "images").glob("*.dcm"))) for each in folders
    ]


def _split_archive(archive: Path, folder: Path) -> list[Hospital]:
    """One folder per hospital: its lines of the index, and the archive's own picture folders by link."""
    try:
        with (archive / "index.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise CommandError("the data folder has no index.csv") from error
    hospitals = []
    for name in sorted({row["site"] for row in rows}):
        own = [row for row in rows if row["site"] == name]
        hospital = folder / name.replace("_", "-")
        hospital.mkdir(parents=True)
        for linked in sorted({Path(row[column]).parts[0] for row in own for column in ("image", "label")}):
            (hospital / linked).symlink_to(archive / linked, target_is_directory=True)
        with (hospital / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(own)
        hospitals.append(Hospital(name=hospital.name, folder=hospital, image=archive / own[0]["image"]))
    return hospitals


if __name__ == "__main__":
    main()
