"""A published model as a folder: every byte of it is verified, or it is not a model."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from shared.errors import MammofedError, NotFoundError, TamperedError, TrustError
from shared.package import (
    MANIFEST,
    MANIFEST_TYPE,
    MODEL_CARD,
    PLAN,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    ManifestFile,
    verify_package,
)
from shared.plan import Plan, RoundsPlan
from shared.trust.anchors import RetiredKey
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import SigningKey

KEY = SigningKey.generate()


def write_package(folder: Path, *, key: SigningKey = KEY, name: str = "density", **changes: Any) -> Path:
    """A package with a plan, weights and a card; `changes` replace fields of the manifest before signing."""
    plan = Plan(name=name, rounds=RoundsPlan(count=2))
    contents = {
        PLAN: plan.to_toml().encode(),
        WEIGHTS: f"weights of {name}".encode() * 20,
        MODEL_CARD: f"# {name}\n".encode(),
    }
    manifest = Manifest(
        model_id=f"{name}-1",
        run_id="run-1",
        plan_sha256=plan.sha256,
        coordinator="Test",
        created_at="2026-01-01T00:00:00+00:00",
        software="mammofed 0.1.0",
        files=[
            ManifestFile(name=file, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            for file, content in contents.items()
        ],
    )
    document = {**json.loads(manifest.to_bytes()), **changes}
    manifest_bytes = json.dumps(document, indent=2).encode()
    folder.mkdir()
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    sign_manifest(folder, manifest_bytes, key=key)
    return folder


def sign_manifest(folder: Path, content: bytes, *, key: SigningKey, kind: str = MANIFEST_TYPE) -> None:
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(sign(kind, content, key).to_bytes())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "model")


def test_what_is_read_is_what_was_signed(package: Path) -> None:
    verified = verify_package(package, KEY.verify_key)

    assert verified.weights == (package / WEIGHTS).read_bytes()
    assert verified.plan.name == "density"
    assert verified.manifest.model_id == "density-1"
    assert verified.manifest_sha256 == hashlib.sha256((package / MANIFEST).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, WEIGHTS, PLAN, MODEL_CARD])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_byte_in_any_file_is_refused(name: str, place: float, package: Path) -> None:
    content = bytearray((package / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (package / name).write_bytes(content)

    with pytest.raises(TrustError):
        verify_package(package, KEY.verify_key)


def test_bytes_all_along_the_signature_count(package: Path) -> None:
    whole = (package / SIGNATURE).read_bytes()
    for place in range(0, len(whole), 9):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (package / SIGNATURE).write_bytes(damaged)

        with pytest.raises(TrustError):
            verify_package(package, KEY.verify_key)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, WEIGHTS, PLAN, MODEL_CARD])
@pytest.mark.parametrize("change", [lambda content: content + b"\n", lambda content: content[:-1]])
def test_a_file_that_is_longer_or_shorter_is_refused(name: str, change, package: Path) -> None:
    (package / name).write_bytes(change((package / name).read_bytes()))

    with pytest.raises(TrustError):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, WEIGHTS, PLAN, MODEL_CARD])
def test_a_missing_file_is_named(name: str, package: Path) -> None:
    (package / name).unlink()

    with pytest.raises(NotFoundError, match=name):
        verify_package(package, KEY.verify_key)


def test_a_folder_in_the_place_of_a_file_is_refused(package: Path) -> None:
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).mkdir()

    with pytest.raises(NotFoundError):
        verify_package(package, KEY.verify_key)


def test_a_package_signed_by_another_key_is_refused(tmp_path: Path) -> None:
    package = write_package(tmp_path / "model", key=SigningKey.generate())

    with pytest.raises(TrustError, match="another key"):
        verify_package(package, KEY.verify_key)


def test_a_stranger_cannot_borrow_the_coordinators_key_id(tmp_path: Path) -> None:
    stranger = SigningKey.generate()
    package = write_package(tmp_path / "model", key=stranger)
    envelope = Envelope.from_bytes((package / SIGNATURE).read_bytes())
    borrowed = Envelope(
        payload_type=envelope.payload_type,
        unverified_payload=envelope.unverified_payload,
        key_id=KEY.verify_key.key_id,
        signature=envelope.signature,
    )
    (package / SIGNATURE).write_bytes(borrowed.to_bytes())

    with pytest.raises(TamperedError):
        verify_package(package, KEY.verify_key)


def test_an_announcement_of_the_coordinator_is_no_manifest(package: Path) -> None:
    kind = "application/vnd.mammofed.announcement+json"
    sign_manifest(package, (package / MANIFEST).read_bytes(), key=KEY, kind=kind)

    with pytest.raises(TrustError, match="another kind"):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize("names", [[MANIFEST], [SIGNATURE], [MANIFEST, SIGNATURE], [WEIGHTS], [PLAN]])
def test_parts_swapped_between_two_models_of_one_coordinator_are_refused(
    names: list[str], package: Path, tmp_path: Path
) -> None:
    other = write_package(tmp_path / "other", name="other")
    for name in names:
        shutil.copy(other / name, package / name)

    with pytest.raises(TamperedError):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "a/b.txt", "..", "", "weights.safetensors\n", "Weights.bin"]
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused_even_if_signed(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    package = write_package(tmp_path / "model", files=[{"name": name, "sha256": digest, "size_bytes": 6}])

    with pytest.raises(TrustError, match="unknown form"):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize(
    "changes",
    [{"format": 3}, {"format": 1}, {"note": "new"}, {"files": "all"}, {"model_id": 7}, {"files": []}],
    ids=[
        "a newer format",
        "an older format",
        "an unknown field",
        "no list of files",
        "a number as id",
        "no files",
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    package = write_package(tmp_path / "model", **changes)

    with pytest.raises(TrustError, match="unknown form"):
        verify_package(package, KEY.verify_key)


def test_a_signed_package_whose_plan_is_not_the_runs_is_refused(tmp_path: Path) -> None:
    package = write_package(tmp_path / "model", plan_sha256="0" * 64)

    with pytest.raises(TamperedError, match=PLAN):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize("plan", [b"\xff\xfe", b"name = 3", b"new_setting = 1\n"])
def test_a_signed_plan_that_cannot_be_read_is_refused(plan: bytes, package: Path) -> None:
    digest = hashlib.sha256(plan).hexdigest()
    manifest = Manifest.model_validate_json((package / MANIFEST).read_bytes())
    files = [
        ManifestFile(name=PLAN, sha256=digest, size_bytes=len(plan)) if file.name == PLAN else file
        for file in manifest.files
    ]
    changed = manifest.model_copy(update={"files": files, "plan_sha256": digest})
    (package / PLAN).write_bytes(plan)
    sign_manifest(package, changed.to_bytes(), key=KEY)

    with pytest.raises(TrustError, match="unknown form"):
        verify_package(package, KEY.verify_key)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff" * 100, b'{"signatures":' * 5000])
def test_a_signature_file_that_is_no_envelope_is_refused(content: bytes, package: Path) -> None:
    (package / SIGNATURE).write_bytes(content)

    with pytest.raises(TamperedError):
        verify_package(package, KEY.verify_key)


def test_no_message_holds_the_folders_path(package: Path) -> None:
    (package / WEIGHTS).unlink()

    with pytest.raises(MammofedError) as caught:
        verify_package(package, KEY.verify_key)

    assert str(package) not in caught.value.message + caught.value.hint


# -- a coordinator that has exchanged its signing key

OLD_KEY = SigningKey.generate()
RETIRED = RetiredKey(
    key=OLD_KEY.verify_key, retired_at=datetime.fromisoformat("2026-03-01T00:00:00+00:00").timestamp()
)


def test_a_model_that_a_retired_key_signed_in_its_time_still_verifies(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "model", key=OLD_KEY, created_at="2026-02-28T23:59:59+00:00")

    assert verify_package(folder, KEY.verify_key, (RETIRED,)).manifest.model_id == "density-1"


def test_a_model_that_a_thief_signs_with_a_retired_key_is_refused(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "model", key=OLD_KEY, created_at="2026-03-01T00:00:01+00:00")

    with pytest.raises(TrustError, match="had been retired"):
        verify_package(folder, KEY.verify_key, (RETIRED,))


def test_a_model_of_no_time_is_of_no_form(tmp_path: Path) -> None:
    folder = write_package(tmp_path / "model", created_at="yesterday")

    with pytest.raises(TrustError, match="unknown form"):
        verify_package(folder, KEY.verify_key)
