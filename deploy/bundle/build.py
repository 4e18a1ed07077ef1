"""Build the offline bundle of one role: `make bundle ROLE=site KEY=FINGERPRINT`.

The archive holds every wheel at its locked version with its hash, the systemd units, `setup`, a bill of
materials (CycloneDX), checksums of all of it, and an OpenPGP signature over the checksums. It is installed
once here, into an environment that is thrown away, so that no bundle leaves that cannot be installed; the
bill of materials tells of what was installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from deploy.bundle.role_wheel import PACKAGE_OF, keep_role

REPOSITORY = Path(__file__).resolve().parents[2]
EXTRAS_OF = {"site": ("client",), "coordinator": ("server", "postgresql")}
UNITS_OF = {
    "site": ("mammofed-site.service", "mammofed-site.path", "mammofed-site-dicom.service"),
    "coordinator": ("mammofed-coordinator.service",),
}
SUMS = "SHA256SUMS"
PIP = "pip==26.3"


def main() -> None:
    """Entry."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--role", choices=sorted(PACKAGE_OF), required=True)
    options.add_argument("--key", required=True, help="fingerprint of the OpenPGP key that signs")
    options.add_argument("--output", type=Path, default=REPOSITORY / "dist")
    options.add_argument("--tools", type=Path, required=True, help="environment that `make tools` has made")
    options.add_argument("--torch-index", default="", help="another package index for torch")
    options.add_argument("--wheels", type=Path, help="folder of wheels to prefer, such as torch's with CUDA")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mammofed-bundle-") as folder:
        bundle = collect(given.role, Path(folder), torch_index=given.torch_index, wheels=given.wheels)
        write_bill(bundle, Path(folder) / "trial", tools=given.tools)
        sign(bundle, given.key)
        archive = pack(bundle, given.output)
    print(f"{archive} ({archive.stat().st_size / 1e6:.0f} MB)\nSHA-256 {_sha256(archive)}")


def version() -> str:
    """The version of this tree."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def collect(role: str, folder: Path, *, torch_index: str = "", wheels: Path | None = None) -> Path:
    """Bring everything but bill, checksums and signature together; returns the bundle's folder."""
    bundle = folder / f"mammofed-{role}-{version()}"
    target = bundle / "wheels"
    target.mkdir(parents=True)
    _download(requirements(role), target, torch_index=torch_index, wheels=wheels)
    built = folder / "built"
    _pip("wheel", "--no-deps", "--wheel-dir", str(built), str(REPOSITORY))
    own = keep_role(next(built.glob("mammofed-*.whl")), role, target)
    (bundle / "lock.txt").write_text(lock(target, own, EXTRAS_OF[role]))
    for name in UNITS_OF[role]:
        shutil.copy(REPOSITORY / "deploy" / "systemd" / name, bundle)
    setup = (REPOSITORY / "deploy" / "bundle" / "setup").read_text()
    (bundle / "setup").write_text(setup.replace("@ROLE@", role).replace("@VERSION@", version()))
    (bundle / "setup").chmod(0o755)
    shutil.copy(REPOSITORY / "LICENSE", bundle)
    return bundle


def requirements(role: str) -> list[str]:
    """What a role needs beside mammofed itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][extra] for extra in EXTRAS_OF[role])
    return [*project["dependencies"], *(line for extra in extras for line in extra)]


def lock(wheels: Path, own: Path, extras: Sequence[str]) -> str:
    """Every wheel by name, version and hash, as `pip install --require-hashes` reads it."""
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, number = wheel.name.split("-")[:2]
        if name == "pip":
            continue
        named = f"{name}[{','.join(extras)}]" if wheel == own else name
        lines.append(f"{named}=={number} --hash=sha256:{_sha256(wheel)}\n")
    return "".join(lines)


def write_bill(bundle: Path, trial: Path, *, tools: Path) -> None:
    """Install the bundle as `setup` does, and write down what there is then, with licences."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(trial)], check=True)
    python = trial / "bin" / "python"
    pip = next((bundle / "wheels").glob("pip-*.whl")) / "pip"
    subprocess.run(
        [
            *(str(python), str(pip), "install", "--quiet", "--no-index", "--no-compile", "--require-hashes"),
            *("--find-links", str(bundle / "wheels"), "--requirement", str(bundle / "lock.txt")),
        ],
        env=_clean_environment(),
        check=True,
    )
    subprocess.run(
        [
            *(str(tools / "bin" / "cyclonedx-py"), "environment", "--output-reproducible", "--of", "JSON"),
            *("--output-file", str(bundle / "sbom.cdx.json"), str(python)),
        ],
        check=True,
    )


def sign(bundle: Path, key: str) -> None:
    """Write the checksum of every file, and sign that."""
    files = sorted(each for each in bundle.rglob("*") if each.is_file())
    sums = "".join(f"{_sha256(each)}  {each.relative_to(bundle)}\n" for each in files)
    (bundle / SUMS).write_text(sums)
    subprocess.run(
        [
            *("gpg", "--batch", "--yes", "--quiet", "--local-user", key, "--output", f"{bundle / SUMS}.sig"),
            *("--detach-sign", str(bundle / SUMS)),
        ],
        check=True,
    )


def pack(bundle: Path, output: Path) -> Path:
    """One archive, not compressed: wheels are. Same files, same bytes."""
    output.mkdir(parents=True, exist_ok=True)
    archive = output / f"{bundle.name}.tar"

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(archive, "w") as target:
        for each in sorted(bundle.rglob("*")):
            target.add(each, f"{bundle.name}/{each.relative_to(bundle)}", recursive=False, filter=plain)
    return archive


def _download(needed: Sequence[str], target: Path, *, torch_index: str, wheels: Path | None) -> None:
    prefer = ("--find-links", str(wheels)) if wheels else ()
    common = (
        "--dest",
        str(target),
        "--only-binary",
        ":all:",
        "--constraint",
        str(REPOSITORY / "constraints.txt"),
    )
    index = ("--index-url", torch_index) if torch_index else ()
    _pip("download", *common, *prefer, *index, next(each for each in needed if each.startswith("torch")))
    _pip("download", *common, *prefer, "--find-links", str(target), *needed)
    _pip("download", "--dest", str(target), "--no-deps", PIP)


def _pip(command: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
    )


def _clean_environment() -> dict[str, str]:
    """Without what would let pip look elsewhere than into the bundle."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


if __name__ == "__main__":
    main()
