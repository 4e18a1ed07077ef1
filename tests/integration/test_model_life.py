"""A model from its release to its revocation, at a site that pulls it over real TLS; and attacks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.published_model import PLAN_TOML, publish
from client.consenting import Consenting
from client.home import SiteHome
from client.models import in_use, open_models, pull, roll_back
from client.published import hear_now
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from client.using import load_model
from server.lifecycle import RunState
from server.registry import release, revoke
from server.store import Model, ModelFile, Run
from shared.consent import consent_pb2
from shared.errors import (
    ConfigError,
    MammofedError,
    ModelRevokedError,
    NotFoundError,
    TamperedError,
    TrustError,
)
from shared.package import MANIFEST, Manifest
from shared.persons.roles import Role
from shared.published import PUBLISHED_TYPE, ModelState
from shared.supplements import Privacy, Supplement, SupplementKind
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.integration.member_coordinator import MemberCoordinator

OWNER = "local:it"


def silent(_done: int, _total: int) -> None:
    pass


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path) -> SiteHome:
    for name in ("ada", "bob"):
        members.coordinator.persons.add(name, Role.ADMINISTRATOR, actor="test", at=time.time())
    return members.member(tmp_path / "aarhus")


def publish_into(members: MemberCoordinator, folder: Path, number: int, *, released: bool = True) -> str:
    """A model of a run of its own; both are ids."""
    model_id, run_id = f"test-{number}", f"run-{number}"
    publish(folder / model_id, members.coordinator.signing_key, model_id=model_id, run_id=run_id)
    blobs = {
        file.name: members.coordinator.blobs.put_bytes(file.read_bytes())
        for file in (folder / model_id).iterdir()
    }
    now = time.time()
    run = Run(
        run_id=run_id,
        name=PLAN_TOML.name,
        plan_sha256=PLAN_TOML.sha256,
        plan_toml=PLAN_TOML.to_toml(),
        state=RunState.SUBMITTED,
        created_at=now,
    )
    members.coordinator.runs.submit(run, actor="test")
    members.coordinator.runs.move(run_id, RunState.STOPPED, at=now)
    model = Model(model_id=model_id, run_id=run_id, manifest_sha256=blobs[MANIFEST].digest, created_at=now)
    members.coordinator.models.publish(
        model, [ModelFile(name=name, blob=blob) for name, blob in blobs.items()]
    )
    if released:
        lenient = replace(members.coordinator, release_needs=frozenset({SupplementKind.LIMITS}))
        for actor in ("person:ada", "person:bob"):
            release(lenient, model_id, actor=actor)
    return model_id


def lines_of(home: SiteHome) -> list[tuple[str, str]]:
    log = AuditLog(open_site_store(home.folder))
    return [(line.name, line.subject) for line in log.lines() if line.name.startswith("model.")]


def test_a_released_model_is_pulled_verified_and_used_and_the_newer_one_rolled_back(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    assert pull(home, None, actor=OWNER, progress=silent).manifest.model_id == "test-1"
    publish_into(members, tmp_path, 2)
    assert pull(home, None, actor=OWNER, progress=silent).manifest.model_id == "test-2"
    assert in_use(home).name == "test-2"
    assert load_model(home, in_use(home)).loaded.model_id == "test-2"

    assert roll_back(home, actor=OWNER).manifest.model_id == "test-1"

    assert in_use(home).name == "test-1"
    with pytest.raises(NotFoundError):
        roll_back(home, actor=OWNER)
    assert in_use(home).name == "test-1"
    assert lines_of(home) == [("model.installed", f"test-{number}") for number in (1, 2, 1)]
    assert {path.name for path in home.models.iterdir()} == {"test-1", "test-2", ".lock"}


def test_a_supplement_that_was_signed_later_is_asked_for_and_pulled(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    package = pull(home, None, actor=OWNER, progress=silent)
    assert package.supplements.keys() == {SupplementKind.LIMITS, SupplementKind.CALIBRATION}
    content = Privacy(
        coordinator_saw="sums", update_bits=16, max_update_norm=None, num_rounds=1, num_sites=3, told=()
    )
    model = members.coordinator.models.get("test-1")
    supplement = Supplement(
        model_id="test-1",
        manifest_sha256=model.manifest_sha256,
        made_at="2026-01-02T00:00:00+00:00",
        content=content,
    )
    blob = members.coordinator.blobs.put_bytes(supplement.signed(members.coordinator.signing_key))
    file = ModelFile(name=SupplementKind.PRIVACY.file, blob=blob)
    members.coordinator.models.supplement(model, [file], at=time.time())

    hear_now(home, open_models(home), at=time.time())
    with pytest.raises(NotFoundError, match=r"supplement_privacy\.json"):
        load_model(home, in_use(home))

    assert pull(home, None, actor=OWNER, progress=silent).supplements[SupplementKind.PRIVACY] == supplement
    load_model(home, in_use(home))
    # Whoever takes the limits away would have images measured that are to be refused.
    (in_use(home) / SupplementKind.LIMITS.file).unlink()
    with pytest.raises(NotFoundError, match=r"supplement_limits\.json"):
        load_model(home, in_use(home))


def test_a_site_learns_of_a_revocation_at_its_next_contact_and_refuses_the_model(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish_into(members, tmp_path, number)
        pull(home, None, actor=OWNER, progress=silent)
    revoke(members.coordinator, "test-2", "it fails on implants", actor="person:ada")
    load_model(home, in_use(home))  # nobody has told it yet

    with Consenting(home) as consenting:
        consenting.tend()

    with pytest.raises(ModelRevokedError, match="fails on implants"):
        load_model(home, in_use(home))
    with pytest.raises(ModelRevokedError):
        pull(home, "test-2", actor=OWNER, progress=silent)
    assert ("model.revoked", "test-2") in lines_of(home)
    assert pull(home, None, actor=OWNER, progress=silent).manifest.model_id == "test-1"
    load_model(home, in_use(home))


def test_a_copy_of_a_revoked_model_in_another_folder_is_refused_too(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1, released=False)
    load_model(home, tmp_path / "test-1")
    revoke(members.coordinator, "test-1", "test", actor="person:ada")
    hear_now(home, open_models(home), at=time.time())

    with pytest.raises(ModelRevokedError):
        load_model(home, tmp_path / "test-1")


def test_a_rollback_passes_over_what_was_revoked_meanwhile(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        publish_into(members, tmp_path, number)
        pull(home, None, actor=OWNER, progress=silent)
    revoke(members.coordinator, "test-2", "test", actor="person:ada")
    hear_now(home, open_models(home), at=time.time())

    assert roll_back(home, actor=OWNER).manifest.model_id == "test-1"


def test_a_rollback_does_not_go_back_to_a_model_that_was_altered_meanwhile(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish_into(members, tmp_path, number)
        pull(home, None, actor=OWNER, progress=silent)
    (home.models / "test-1" / "plan.toml").write_text("name = 'other'")

    with pytest.raises(NotFoundError):
        roll_back(home, actor=OWNER)

    assert in_use(home).name == "test-2"


def test_a_site_keeps_the_files_of_its_last_three_models(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    for number in (1, 2, 3, 4):
        publish_into(members, tmp_path, number)
        pull(home, None, actor=OWNER, progress=silent)

    assert {path.name for path in home.models.iterdir() if path.is_dir()} == {"test-2", "test-3", "test-4"}
    assert pull(home, "test-1", actor=OWNER, progress=silent).manifest.model_id == "test-1"


def test_a_candidate_is_not_pulled(members: MemberCoordinator, home: SiteHome, tmp_path: Path) -> None:
    publish_into(members, tmp_path, 1, released=False)

    with pytest.raises(NotFoundError, match="released no model"):
        pull(home, None, actor=OWNER, progress=silent)
    with pytest.raises(TrustError, match="candidate"):
        pull(home, "test-1", actor=OWNER, progress=silent)
    with pytest.raises(NotFoundError):
        in_use(home)


def test_a_replayed_list_takes_no_revocation_back(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    before = members.coordinator.models.published()
    models = open_models(home)
    revoke(members.coordinator, "test-1", "test", actor="person:ada")
    hear_now(home, models, at=time.time())

    assert models.hear(before, actor="site", at=time.time()) == ()

    known = models.find("test-1")
    assert known is not None
    assert known.state is ModelState.REVOKED


def test_a_list_that_another_key_signed_is_not_believed(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_into(members, tmp_path, 1)
    forged = sign(PUBLISHED_TYPE, members.coordinator.models.published().to_bytes(), SigningKey.generate())
    members.stop()
    monkeypatch.setattr(
        type(members.consents), "Published", lambda *_: consent_pb2.PublishedReply(envelope=forged.to_bytes())
    )
    members.start()

    with pytest.raises(TrustError):
        hear_now(home, open_models(home), at=time.time())
    assert open_models(home).published().models == ()


def test_a_published_model_that_is_told_of_with_another_content_is_refused_and_nothing_changes(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    models = open_models(home)
    hear_now(home, models, at=time.time())
    (told,) = models.published().models
    other = told.model_copy(update={"manifest": BlobRef.of(b"other"), "state": ModelState.REVOKED})

    with pytest.raises(TrustError, match="another content"):
        models.hear(models.published().model_copy(update={"models": (other,)}), actor="site", at=time.time())

    assert models.published().models == (told,)


def test_a_package_that_was_altered_at_the_coordinator_is_not_taken_into_use(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    manifest = Manifest.model_validate_json((tmp_path / "test-1" / MANIFEST).read_bytes())
    weights = next(file for file in manifest.files if file.name == "weights.safetensors")
    path = members.coordinator.blobs.path(weights.sha256)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(TamperedError):
        pull(home, None, actor=OWNER, progress=silent)

    with pytest.raises(NotFoundError):
        in_use(home)


def test_a_reason_that_is_more_than_plain_words_is_told_to_nobody(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)

    for reason in ("", "patient 1.2.840.113619", "see /data/images"):
        with pytest.raises(ConfigError):
            revoke(members.coordinator, "test-1", reason, actor="person:ada")

    assert members.coordinator.models.get("test-1").state is ModelState.RELEASED


def test_without_the_coordinator_nothing_is_pulled_and_what_is_in_use_stays(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    publish_into(members, tmp_path, 1)
    pull(home, None, actor=OWNER, progress=silent)
    members.stop()

    with pytest.raises(MammofedError, match="does not answer"):
        pull(home, None, actor=OWNER, progress=silent)

    load_model(home, in_use(home))
