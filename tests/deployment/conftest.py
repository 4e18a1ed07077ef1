"""The bundle that these tests install, built once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bundle import build

REPOSITORY = Path(__file__).resolve().parents[2]
NEXT = "99.0.0"
"""What the later of the two bundles says that it is."""


def tools(folder: Path) -> Path:
    """The environment of `make tools`, or one with what a bundle needs of it."""
    made = REPOSITORY / ".tools"
    if (made / "bin" / "cyclonedx-py").exists():
        return made
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    lines = (REPOSITORY / "deploy" / "tools.txt").read_text().splitlines()
    needed = next(line for line in lines if line.startswith("cyclonedx"))
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", needed], check=True)
    return folder


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of this tree, one that says it is of a later version, and the release key."""
    folder = tmp_path_factory.mktemp("release")
    gnupg = folder / "gnupg"
    gnupg.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(gnupg))
        gpg = ["gpg", "--batch", "--quiet", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-gen-key", "release@example.org", "ed25519", "sign", "1d"], check=True)
        subprocess.run(["gpg", "--output", str(folder / "mammofed-release.gpg"), "--export"], check=True)
        made = build.collect("site", folder)
        build.write_bill(made, folder / "trial", tools=tools(folder / "tools"))
        build.sign(made, "release@example.org")
        build.pack(made, folder)
        later = made.with_name(f"mammofed-site-{NEXT}")
        shutil.copytree(made, later)
        script = later / "setup"
        script.write_text(script.read_text().replace(f"version={build.version()}\n", f"version={NEXT}\n"))
        for file in later.glob("SHA256SUMS*"):
            file.unlink()
        build.sign(later, "release@example.org")
        build.pack(later, folder)
        subprocess.run(["gpgconf", "--kill", "all"], check=True)
    return folder
