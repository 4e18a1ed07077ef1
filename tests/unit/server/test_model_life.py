"""A published model is released by two persons and revoked by one; over both stores."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from server.lifecycle import RunState
from server.store import AuditLog, Model, ModelFile, Models, Persons, Run, Runs, open_coordinator_store
from server.store.models import Release
from shared.errors import AggregationError, TrustError
from shared.package import MANIFEST, SIGNATURE, WEIGHTS
from shared.persons.roles import Role
from shared.published import MODEL_TRANSITIONS, ModelState
from shared.transfer.blob_ref import BlobRef

NOW = 1_000.0
ADA, BOB, EVE = "person:ada", "person:bob", "person:eve"
FILES = {name: BlobRef.of(name.encode()) for name in (MANIFEST, SIGNATURE, WEIGHTS)}


@pytest.fixture
def engine(tmp_path, database) -> Engine:
    opened = open_coordinator_store(tmp_path, database)
    persons = Persons(opened)
    for name in ("ada", "bob", "eve"):
        persons.add(name, Role.ADMINISTRATOR, actor="test", at=NOW)
    run = Run(
        run_id="run-1",
        name="density",
        plan_sha256="0" * 64,
        plan_toml="",
        state=RunState.SUBMITTED,
        created_at=NOW,
    )
    Runs(opened).submit(run, actor="test")
    published = Model(
        model_id="density-1", run_id="run-1", manifest_sha256=FILES[MANIFEST].digest, created_at=NOW
    )
    Models(opened).publish(published, [ModelFile(name=name, blob=blob) for name, blob in FILES.items()])
    return opened


@pytest.fixture
def models(engine: Engine) -> Models:
    return Models(engine)


def state(models: Models) -> ModelState:
    (told,) = models.published().models
    assert told.state is models.get("density-1").state
    return told.state


def test_a_model_is_released_by_two_persons_and_only_then_may_sites_fetch_it(
    models: Models, engine: Engine
) -> None:
    assert state(models) is ModelState.CANDIDATE
    assert models.release("density-1", needs=(), actor=ADA, at=NOW) is Release.ASKED
    assert state(models) is ModelState.CANDIDATE
    assert not any(models.may_fetch(blob.digest) for blob in FILES.values())

    assert models.release("density-1", needs=(), actor=BOB, at=NOW) is Release.RELEASED

    assert state(models) is ModelState.RELEASED
    assert all(models.may_fetch(blob.digest) for blob in FILES.values())
    assert not models.may_fetch("f" * 64)
    lines = [(line.name, line.actor, dict(line.details)) for line in AuditLog(engine).lines()][-2:]
    assert lines == [("model.release_asked", ADA, {}), ("model.released", BOB, {"first": "ada"})]


def test_one_person_alone_cannot_release_a_model_by_asking_twice(models: Models) -> None:
    models.release("density-1", needs=(), actor=ADA, at=NOW)

    with pytest.raises(TrustError, match="two persons"):
        models.release("density-1", needs=(), actor=ADA, at=NOW)

    assert state(models) is ModelState.CANDIDATE


def test_the_owner_of_a_home_without_named_persons_cannot_release_a_model(models: Models) -> None:
    with pytest.raises(TrustError, match="two named persons"):
        models.release("density-1", needs=(), actor="local:root", at=NOW)

    assert models.get("density-1").release_asked_by is None


def test_the_word_of_a_person_who_was_disabled_since_releases_nothing(models: Models, engine: Engine) -> None:
    models.release("density-1", needs=(), actor=EVE, at=NOW)
    Persons(engine).disable("eve", actor=ADA, at=NOW)

    assert models.release("density-1", needs=(), actor=ADA, at=NOW) is Release.ASKED
    assert state(models) is ModelState.CANDIDATE
    assert models.release("density-1", needs=(), actor=BOB, at=NOW) is Release.RELEASED


@pytest.mark.parametrize("released", [False, True])
def test_a_revoked_model_may_be_fetched_by_nobody_and_never_comes_back(
    models: Models, released: bool
) -> None:
    if released:
        models.release("density-1", needs=(), actor=ADA, at=NOW)
        models.release("density-1", needs=(), actor=BOB, at=NOW)

    revoked = models.revoke("density-1", reason="masks were swapped", actor="local:root", at=NOW)

    assert revoked.state is state(models) is ModelState.REVOKED
    assert models.published().models[0].reason == "masks were swapped"
    assert not models.may_fetch(FILES[WEIGHTS].digest)
    with pytest.raises(AggregationError):
        models.release("density-1", needs=(), actor=ADA, at=NOW)
    with pytest.raises(AggregationError):
        models.revoke("density-1", reason="again", actor=ADA, at=NOW)


def test_nothing_leads_back_from_any_state() -> None:
    order = list(ModelState)
    assert all(
        order.index(after) > order.index(before) for before, to in MODEL_TRANSITIONS.items() for after in to
    )


def test_the_digest_of_what_sites_are_told_changes_with_every_state(models: Models) -> None:
    digests = [models.published().digest]
    models.release("density-1", needs=(), actor=ADA, at=NOW)
    assert models.published().digest == digests[0]  # a first word is nobody's business yet
    models.release("density-1", needs=(), actor=BOB, at=NOW)
    digests.append(models.published().digest)
    models.revoke("density-1", reason="test", actor=ADA, at=NOW)
    digests.append(models.published().digest)

    assert len(set(digests)) == 3
