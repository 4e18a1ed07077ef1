"""The offline bundle: what is in it, and what `setup` refuses to install."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle.build import EXTRAS_OF, lock, pack, requirements, sign, version
from deploy.bundle.role_wheel import keep_role

SETUP = Path(__file__).resolve().parents[3] / "deploy" / "bundle" / "setup"
WHEEL = "mammofed-1.2.3-py3-none-any.whl"
FILES = {
    "client/cli.py": "site",
    "server/cli.py": "coordinator",
    "shared/plan.py": "both",
    "mammofed-1.2.3.dist-info/METADATA": "Name: mammofed\n",
    "mammofed-1.2.3.dist-info/entry_points.txt": (
        "[console_scripts]\nmammofed-coordinator = server.cli:main\nmammofed-site = client.cli:main\n"
    ),
    "mammofed-1.2.3.dist-info/RECORD": "client/cli.py,sha256=old,4\n",
}

needs_gpg = pytest.mark.skipif(
    shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="gnupg and gpgv are not installed"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="setup needs root")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return tmp_path / WHEEL


@pytest.mark.parametrize(
    ("role", "kept", "left_out"), [("site", "client", "server"), ("coordinator", "server", "client")]
)
def test_a_roles_wheel_is_without_the_other_roles_code_and_command(
    role: str, kept: str, left_out: str, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / role).mkdir()

    with zipfile.ZipFile(keep_role(wheel, role, tmp_path / role)) as archive:
        names = archive.namelist()
        points = archive.read("mammofed-1.2.3.dist-info/entry_points.txt").decode()
        record = list(csv.reader(archive.read("mammofed-1.2.3.dist-info/RECORD").decode().splitlines()))
        contents = {name: archive.read(name) for name in names}

    assert f"{kept}/cli.py" in names
    assert "shared/plan.py" in names
    assert not [name for name in names if name.startswith(left_out)]
    assert points == f"[console_scripts]\nmammofed-{role} = {kept}.cli:main\n"
    assert {row[0] for row in record} == set(names)
    for name, digest, size in record[:-1]:
        told = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={told}", len(contents[name]))


def test_the_same_wheel_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        keep_role(wheel, "site", tmp_path / name)

    assert (tmp_path / "first" / WHEEL).read_bytes() == (tmp_path / "second" / WHEEL).read_bytes()


def test_what_a_role_needs_is_its_own_extras_and_no_others() -> None:
    site, coordinator = requirements("site"), requirements("coordinator")

    assert any(line.startswith("pydicom") for line in site)
    assert not any(line.startswith(("pydicom", "pillow")) for line in coordinator)
    assert any(line.startswith("psycopg") for line in coordinator)
    assert not any(line.startswith(("pytest", "mypy")) for line in [*site, *coordinator])


def test_every_wheel_is_locked_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").write_bytes(b"torch")
    (tmp_path / "pip-26.3-py3-none-any.whl").write_bytes(b"pip")
    own = tmp_path / "mammofed-0.1.0-py3-none-any.whl"
    own.write_bytes(b"own")

    assert lock(tmp_path, own, EXTRAS_OF["site"]) == (
        f"mammofed[client]==0.1.0 --hash=sha256:{hashlib.sha256(b'own').hexdigest()}\n"
        f"torch==2.13.0+cpu --hash=sha256:{hashlib.sha256(b'torch').hexdigest()}\n"
    )


# -- setup


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, Path]]]:
    """Two release keys: fingerprint, and the file that `gpg --export` writes."""
    made = {}
    folder = tmp_path_factory.mktemp("gpg")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(folder))
        for name in ("ours", "foreign"):
            gpg = ["gpg", "--batch", "--quiet", "--passphrase", ""]
            subprocess.run(
                [*gpg, "--quick-gen-key", f"{name}@example.org", "ed25519", "sign", "1d"], check=True
            )
            told = subprocess.run(
                ["gpg", "--with-colons", "--list-keys", name], capture_output=True, text=True, check=True
            ).stdout
            fingerprint = next(line for line in told.splitlines() if line.startswith("fpr")).split(":")[9]
            file = folder / f"{name}.gpg"
            subprocess.run(["gpg", "--output", str(file), "--export", fingerprint], check=True)
            made[name] = (fingerprint, file)
        yield made
        subprocess.run(["gpgconf", "--kill", "all"], check=True)


@pytest.fixture
def bundle(keys: dict[str, tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed bundle whose wheels are empty: whatever lets it pass fails before it installs anything."""
    fingerprint, file = keys["ours"]
    monkeypatch.setenv("GNUPGHOME", str(file.parent))
    folder = tmp_path / "mammofed-site-0.0.0"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "pip-1-py3-none-any.whl").write_bytes(b"pip")
    setup = SETUP.read_text().replace("@ROLE@", "site").replace("@VERSION@", "0.0.0")
    # What is tested comes before anything is installed; nothing of it may happen on the machine of the tests.
    (folder / "setup").write_text(setup.replace("    python=$(find_python)\n", "    echo passed; exit 0\n"))
    (folder / "setup").chmod(0o755)
    sign(folder, fingerprint)
    return folder


def setup(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(bundle / "setup"), *arguments], capture_output=True, text=True, check=False)


@needs_gpg
@needs_root
def test_a_bundle_that_is_whole_and_of_the_given_key_passes(
    bundle: Path, keys: dict[str, tuple[str, Path]]
) -> None:
    done = setup(bundle, "install", "--key", str(keys["ours"][1]))

    assert (done.returncode, done.stdout) == (0, "passed\n"), done.stderr


@needs_gpg
@needs_root
def test_a_bundle_of_another_key_is_refused(bundle: Path, keys: dict[str, tuple[str, Path]]) -> None:
    done = setup(bundle, "install", "--key", str(keys["foreign"][1]))

    assert done.returncode == 1
    assert "the signature is not of this key" in done.stderr


@needs_gpg
@needs_root
@pytest.mark.parametrize("key_given", [True, False])
def test_a_changed_file_is_refused_with_the_key_and_without(
    key_given: bool, bundle: Path, keys: dict[str, tuple[str, Path]]
) -> None:
    (bundle / "wheels" / "pip-1-py3-none-any.whl").write_bytes(b"other")
    how = ("--key", str(keys["ours"][1])) if key_given else ("--unverified",)

    done = setup(bundle, "install", *how)

    assert done.returncode == 1
    assert "damaged or missing" in done.stderr


@needs_gpg
@needs_root
def test_a_wheel_that_was_laid_beside_the_others_is_refused(
    bundle: Path, keys: dict[str, tuple[str, Path]]
) -> None:
    (bundle / "wheels" / "torch-9-py3-none-any.whl").write_bytes(b"planted")

    done = setup(bundle, "install", "--key", str(keys["ours"][1]))

    assert done.returncode == 1
    assert "not in its checksums" in done.stderr


@needs_gpg
@needs_root
def test_checksums_that_were_made_anew_are_refused_by_the_signature(
    bundle: Path, keys: dict[str, tuple[str, Path]]
) -> None:
    file = bundle / "wheels" / "pip-1-py3-none-any.whl"
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(b"other")
    sums = bundle / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(old, hashlib.sha256(b"other").hexdigest()))

    done = setup(bundle, "install", "--key", str(keys["ours"][1]))

    assert done.returncode == 1
    assert "the signature is not of this key" in done.stderr


@needs_gpg
@needs_root
def test_without_a_key_nothing_is_installed_unless_that_is_said(bundle: Path) -> None:
    assert setup(bundle, "install").returncode == 2
    assert "the signature is not looked at" in setup(bundle, "install", "--unverified").stdout


@needs_gpg
def test_a_bundle_is_packed_to_the_same_bytes_whoever_packs_it(bundle: Path, tmp_path: Path) -> None:
    first = pack(bundle, tmp_path / "first")
    os.utime(bundle / "setup", (1, 1))
    second = pack(bundle, tmp_path / "second")

    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert {entry.uid for entry in archive} == {0}
        assert archive.getmember("mammofed-site-0.0.0/setup").mode == 0o755


def test_the_version_is_the_projects() -> None:
    assert version().count(".") == 2
