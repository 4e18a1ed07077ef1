"""The coordinator's registers on a real database."""

from __future__ import annotations

import contextlib
import time

import pytest
from sqlalchemy import Engine, delete, event, insert, update
from sqlalchemy.exc import IntegrityError

from server.enrolment import EnrolledSite, SiteKeys
from server.lifecycle import AnswerState, RoundState, RunState, SiteState
from server.store import (
    AuditLog,
    Checkpoint,
    Federation,
    Model,
    ModelFile,
    Models,
    Round,
    Run,
    Runs,
    open_coordinator_store,
)
from server.store.consents import Consents
from server.store.run import ExpectedUpdate
from server.store.schema import answer, round_, run, site
from shared.consent.records import Decision, Verdict
from shared.enrolment.refusal import Refusal
from shared.errors import AggregationError, ConfigError, NotFoundError, StoreError
from shared.records import Contribution, Delta, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr

NOW = 1_000.0
ROUND = {
    "phase": "train",
    "state": "open",
    "base_digest": "0" * 64,
    "base_bytes": 7,
    "opened_at": NOW,
    "deadline": NOW,
}
DELTA = Delta(since=BlobRef.of(b"before").digest, blob=BlobRef.of(b"changes"))
BASE, STATE, PLAN = BlobRef.of(b"weights"), BlobRef.of(b"state"), BlobRef.of(b"plan")
RUN = Run(
    run_id="run-1",
    name="density",
    plan_sha256=PLAN.digest,
    plan_toml='name = "density"\n[rounds]\ncount = 3\n',
    state=RunState.SUBMITTED,
    created_at=NOW,
)


@pytest.fixture
def engine(tmp_path, database) -> Engine:
    return open_coordinator_store(tmp_path, database)


def new_keys() -> SiteKeys:
    return SiteKeys(
        csr_pem=new_csr(TlsKey.generate()),
        signing_key=SigningKey.generate().verify_key,
        node_key=NodeKey.generate().public,
        software_version="0.1.0",
    )


def invite(engine: Engine, name: str = "aarhus", *, secret_hash: str = "a" * 64, days: float = 1.0) -> None:
    Federation(engine).invite(
        secret_hash=secret_hash,
        site_id=f"site-{secret_hash[0]}",
        site_name=name,
        now=NOW,
        expires_at=NOW + days * 86_400,
        actor="ada",
    )


def enrol(engine: Engine, keys: SiteKeys, *, secret_hash: str = "a" * 64, now: float = NOW, issue=None):
    return Federation(engine).enrol(
        secret_hash=secret_hash, now=now, keys=keys, issue=issue or (lambda site_id: site_id.encode())
    )


def names_of(engine: Engine) -> list[str]:
    return [line.name for line in AuditLog(engine).lines()]


# -- enrolment


def test_an_invited_site_is_enrolled_with_its_keys_and_both_steps_are_in_the_trail(engine: Engine) -> None:
    keys = new_keys()
    invite(engine)

    enrolled = enrol(engine, keys)

    assert isinstance(enrolled, EnrolledSite)
    assert enrolled.certificate_pem == b"site-a"
    (kept,) = Federation(engine).sites()
    assert (kept.site_id, kept.name, kept.state) == ("site-a", "aarhus", SiteState.ACTIVE)
    assert kept.signing_public_key == keys.signing_key.raw
    assert kept.node_public_key == keys.node_key.text
    assert kept.node_id is None
    assert names_of(engine) == ["site.invited", "site.enrolled"]


def test_a_certificate_that_cannot_be_issued_leaves_the_invitation_unused(engine: Engine) -> None:
    invite(engine)

    def broken(_site_id: str) -> bytes:
        raise RuntimeError("the root key is on another disk")

    with pytest.raises(RuntimeError):
        enrol(engine, new_keys(), issue=broken)

    assert Federation(engine).sites() == []
    assert names_of(engine) == ["site.invited"]
    assert isinstance(enrol(engine, new_keys()), EnrolledSite)


def test_an_unknown_secret_enrols_nobody(engine: Engine) -> None:
    invite(engine)

    assert enrol(engine, new_keys(), secret_hash="b" * 64) is Refusal.UNKNOWN_TOKEN
    assert Federation(engine).sites() == []


def test_an_expired_invitation_enrols_nobody_and_stays_unused(engine: Engine) -> None:
    invite(engine, days=1)

    assert enrol(engine, new_keys(), now=NOW + 86_400) is Refusal.EXPIRED_TOKEN
    assert Federation(engine).sites() == []


def test_a_used_invitation_is_refused_to_other_keys_and_the_first_site_stays(engine: Engine) -> None:
    invite(engine)
    enrol(engine, new_keys())
    before = Federation(engine).sites()

    assert enrol(engine, new_keys()) is Refusal.USED_TOKEN
    assert Federation(engine).sites() == before


def test_the_same_keys_get_the_same_certificate_again_without_a_second_issue(engine: Engine) -> None:
    keys = new_keys()
    invite(engine)
    first = enrol(engine, keys)

    again = enrol(engine, keys, now=NOW + 10 * 86_400, issue=lambda _site_id: b"another")

    assert again == first
    assert len(Federation(engine).sites()) == 1


def test_a_used_invitation_of_a_revoked_site_is_refused_even_to_its_own_keys(engine: Engine) -> None:
    keys = new_keys()
    invite(engine)
    enrol(engine, keys)
    with engine.begin() as connection:
        connection.execute(update(site).values(state=SiteState.REVOKED))

    assert enrol(engine, keys) is Refusal.USED_TOKEN
    assert not Federation(engine).is_active("site-a")
    assert Federation(engine).active() == []


def test_two_invitations_under_one_name_make_one_site(engine: Engine) -> None:
    invite(engine, secret_hash="a" * 64)
    invite(engine, secret_hash="b" * 64)
    enrol(engine, new_keys(), secret_hash="a" * 64)

    assert enrol(engine, new_keys(), secret_hash="b" * 64) is Refusal.NAME_TAKEN
    assert [each.site_id for each in Federation(engine).sites()] == ["site-a"]
    with pytest.raises(ConfigError, match="already enrolled"):
        invite(engine, secret_hash="c" * 64)


def test_a_node_id_of_64_bits_is_kept_exactly_and_forgotten_with_the_superlink(engine: Engine) -> None:
    invite(engine)
    enrol(engine, new_keys())

    Federation(engine).set_node_id("site-a", 2**64 - 1)
    assert Federation(engine).active()[0].node_id == 2**64 - 1

    Federation(engine).forget_nodes()
    assert Federation(engine).active()[0].node_id is None


# -- runs, rounds and answers


def occasion(site_id: str = "site-a", *, number: int = 1, phase: Phase = Phase.TRAIN) -> Occasion:
    return Occasion(
        run_id="run-1",
        plan_sha256=PLAN.digest,
        round_number=number,
        attempt=1,
        phase=phase,
        site_id=site_id,
        base_digest=BASE.digest,
    )


def opened(number: int = 1, *, phase: Phase = Phase.TRAIN) -> Round:
    return Round(
        run_id="run-1",
        number=number,
        attempt=1,
        phase=phase,
        state=RoundState.OPEN,
        base=BASE,
        base_state=STATE,
        aggregate=None,
        opened_at=NOW + number,
        deadline=NOW + 100,
        closed_at=None,
        base_delta=DELTA,
    )


@pytest.fixture
def runs(engine: Engine) -> Runs:
    """A run, and two sites of which one is asked in each round."""
    for name, secret_hash in (("aarhus", "a" * 64), ("bergen", "b" * 64)):
        invite(engine, name, secret_hash=secret_hash)
        enrol(engine, new_keys(), secret_hash=secret_hash)
    Runs(engine).submit(RUN, actor="ada")
    for site_id in ("site-a", "site-b"):
        state_decision(engine, site_id, Verdict.APPROVED, number=1)
    return Runs(engine)


def state_decision(engine: Engine, site_id: str, verdict: Verdict, *, number: int) -> None:
    Consents(engine).offer(RUN.run_id, site_id, at=NOW)
    decision = Decision(
        number=number,
        site_id=site_id,
        run_id=RUN.run_id,
        plan_sha256=RUN.plan_sha256,
        verdict=verdict,
        actor="owner",
        decided_at=NOW,
    )
    Consents(engine).decide(decision, envelope=b"envelope %d" % number, at=NOW)


@pytest.mark.parametrize("phase", Phase)
def test_a_site_may_fetch_plan_and_base_only_while_it_is_asked(runs: Runs, phase: Phase) -> None:
    wanted = (PLAN.digest, BASE.digest, DELTA.blob.digest, STATE.digest)
    assert not any(runs.may_fetch("site-a", digest) for digest in wanted)

    runs.open_round(opened(phase=phase), ["site-a"])
    assert all(runs.may_fetch("site-a", digest) for digest in wanted)
    assert not runs.may_fetch("site-a", BlobRef.of(b"something else").digest)
    assert not any(runs.may_fetch("site-b", digest) for digest in wanted)

    runs.record_answer(occasion(phase=phase), AnswerState.REFUSED, at=NOW, reason="NotReadyError")
    assert not any(runs.may_fetch("site-a", digest) for digest in wanted)


def test_a_site_that_takes_its_approval_back_may_move_nothing_from_then_on(
    runs: Runs, engine: Engine
) -> None:
    runs.open_round(opened(), ["site-a"])

    state_decision(engine, "site-a", Verdict.REFUSED, number=2)

    assert not any(runs.may_fetch("site-a", digest) for digest in (PLAN.digest, BASE.digest))
    assert runs.expected_updates("site-a") == []


def test_a_site_may_fetch_nothing_of_a_round_that_is_closed_without_its_answer(runs: Runs) -> None:
    runs.open_round(opened(), ["site-a"])

    runs.close_round(opened(), None, state=RoundState.VOID, at=NOW)

    assert not runs.may_fetch("site-a", BASE.digest)
    assert runs.expected_updates("site-a") == []


def test_bytes_are_expected_of_a_site_only_while_it_is_asked_to_train(runs: Runs) -> None:
    assert runs.expected_updates("site-a") == []

    runs.open_round(opened(1, phase=Phase.EVALUATE), ["site-a", "site-b"])
    assert runs.expected_updates("site-a") == []

    runs.open_round(opened(2), ["site-a"])
    expected = ExpectedUpdate(attempt=("run-1", 2, 1), base_bytes=BASE.size_bytes)
    assert runs.expected_updates("site-a") == [expected]
    assert runs.expected_updates("site-b") == []

    runs.record_answer(occasion(number=2), AnswerState.REJECTED, at=NOW, reason="no")
    assert runs.expected_updates("site-a") == []


def test_a_second_answer_for_the_same_occasion_is_refused_and_the_first_stays(runs: Runs) -> None:
    runs.open_round(opened(), ["site-a"])
    contribution = Contribution(
        occasion=occasion(),
        num_examples=3,
        update=BlobRef.of(b"update"),
        num_clipped=0,
        train_loss=0.5,
        evaluation=None,
        personal_evaluation=None,
        appearance=None,
        duration_s=1.0,
        checkpoint="{}",
        masking=None,
        epsilon=None,
    )
    runs.record_answer(occasion(), AnswerState.ADMITTED, at=NOW, contribution=contribution)
    (first,) = runs.answers("run-1")

    with pytest.raises(AggregationError):
        runs.record_answer(occasion(), AnswerState.REJECTED, at=NOW + 1, reason="too late")

    assert runs.answers("run-1") == [first]
    assert first.contribution == contribution


def test_an_attempt_is_closed_once_and_those_who_did_not_answer_are_lost_to_it(
    runs: Runs, engine: Engine
) -> None:
    runs.open_round(opened(), ["site-a", "site-b"])
    runs.record_answer(occasion(), AnswerState.REFUSED, at=NOW, reason="NotReadyError")

    made = Checkpoint(number=1, weights=BASE, state=STATE)
    runs.close_round(opened(), made, state=RoundState.AGGREGATED, at=NOW + 5)

    with pytest.raises(AggregationError):
        runs.close_round(opened(), None, state=RoundState.VOID, at=NOW + 6)
    assert [each.state for each in runs.answers("run-1")] == [AnswerState.REFUSED, AnswerState.LOST]
    lost = [line for line in AuditLog(engine).lines() if line.name == "answer.lost"]
    assert [(line.actor, line.details["number"]) for line in lost] == [("site-b", 1)]
    assert runs.last_checkpoint("run-1") == made


@pytest.mark.parametrize("moment", [1, 2])
def test_a_run_can_be_stopped_while_its_round_closes(runs: Runs, engine: Engine, moment: int) -> None:
    runs.move("run-1", RunState.RUNNING, at=NOW)
    runs.open_round(opened(), ["site-a"])
    num_left = moment

    def close_between(*_: object) -> None:
        """After so many transactions of the command the runner closes the round, if it still can."""
        nonlocal num_left
        num_left -= 1
        if num_left == 0:
            with contextlib.suppress(AggregationError):
                made = Checkpoint(number=1, weights=BASE, state=STATE)
                runs.close_round(opened(), made, state=RoundState.AGGREGATED, at=NOW + 5)

    event.listen(engine.pool, "checkin", close_between)

    runs.stop("run-1", actor="ada", at=NOW + 5)

    event.remove(engine.pool, "checkin", close_between)
    assert runs.get("run-1").state is RunState.STOPPED
    assert [one.state for one in runs.rounds("run-1")] == [RoundState.VOID]
    assert [each.reason for each in runs.answers("run-1")] == ["the run was stopped"]


def test_every_transition_appends_one_event(runs: Runs, engine: Engine) -> None:
    runs.move("run-1", RunState.RUNNING, at=NOW)
    runs.open_round(opened(), ["site-a", "site-b"])
    runs.record_answer(occasion(), AnswerState.REFUSED, at=NOW, reason="NotReadyError")
    runs.record_answer(occasion("site-b"), AnswerState.LOST, at=NOW, reason="the site went offline")
    runs.close_round(opened(), None, state=RoundState.VOID, at=NOW)
    runs.move("run-1", RunState.FAILED, at=NOW, failure="Too few sites answered.")

    lines = list(AuditLog(engine).lines(subject="run-1"))
    assert [(line.actor, line.name) for line in lines] == [
        ("ada", "run.submitted"),
        ("coordinator", "run.running"),
        ("coordinator", "round.opened"),
        ("site-a", "answer.refused"),
        ("site-b", "answer.lost"),
        ("coordinator", "round.void"),
        ("coordinator", "run.failed"),
    ]
    assert lines[-1].details == {"reason": "Too few sites answered."}
    assert list(AuditLog(engine).lines(after=lines[-2].sequence, subject="run-1")) == lines[-1:]


def test_a_refused_transition_changes_nothing_and_is_not_in_the_trail(runs: Runs, engine: Engine) -> None:
    before = names_of(engine)

    with pytest.raises(AggregationError):
        runs.move("run-1", RunState.FINISHED, at=NOW)

    assert runs.get("run-1") == RUN
    assert names_of(engine) == before


def test_the_last_checkpoint_is_that_of_the_highest_round(runs: Runs) -> None:
    for number in (1, 2):
        runs.open_round(opened(number), ["site-a"])
        made = Checkpoint(
            number=number, weights=BlobRef.of(b"%d" % number), state=BlobRef.of(b"state %d" % number)
        )
        runs.close_round(opened(number), made, state=RoundState.AGGREGATED, at=NOW)
    runs.open_round(opened(3), ["site-a"])

    checkpoint = runs.last_checkpoint("run-1")

    assert checkpoint == made
    assert {BlobRef.of(b"1").digest, BlobRef.of(b"state 1").digest, STATE.digest} <= runs.digests()
    assert BlobRef.of(b"3").digest not in runs.digests()


def test_what_is_not_there_is_named_as_such(runs: Runs, engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        runs.get("run-2")
    with pytest.raises(NotFoundError):
        Models(engine).get("density-2")
    assert runs.last_checkpoint("run-2") is None
    assert Models(engine).of_run("run-1") is None


def test_a_run_publishes_one_model_and_a_failed_second_leaves_no_file_behind(
    runs: Runs, engine: Engine
) -> None:
    models, file = Models(engine), ModelFile(name="weights.safetensors", blob=BASE)
    first = Model(model_id="density-1", run_id="run-1", manifest_sha256="0" * 64, created_at=NOW)
    models.publish(first, [file])

    with pytest.raises(StoreError):
        models.publish(
            Model(model_id="density-2", run_id="run-1", manifest_sha256="1" * 64, created_at=NOW), []
        )

    assert models.all() == [first]
    assert models.files("density-1") == [file]
    assert models.digests() == {BASE.digest}
    assert names_of(engine).count("model.published") == 1


@pytest.mark.parametrize(
    "statement",
    [
        insert(answer).values(
            run_id="run-1",
            number=9,
            attempt=1,
            phase="train",
            site_id="site-a",
            state="asked",
            asked_at=NOW,
        ),
        insert(round_).values(**ROUND, run_id="run-9", number=1, attempt=1),
        insert(round_).values(**ROUND, run_id="run-1", number=1, attempt=0),
        insert(round_).values(**ROUND, run_id="run-1", number=-1, attempt=1),
        delete(run),
        update(run).values(state="resting"),
        update(site).values(state="away"),
        update(round_).values(state="paused"),
        update(answer).values(state="late"),
        update(answer).values(site_id="site-z"),
    ],
    ids=[
        "an answer without its round",
        "a round without its run",
        "an attempt before the first",
        "a round before the first weights",
        "a run that still has rounds",
        "a run in an unknown state",
        "a site in an unknown state",
        "a round in an unknown state",
        "an answer in an unknown state",
        "an answer of an unknown site",
    ],
)
def test_the_database_itself_refuses(statement, runs: Runs, engine: Engine) -> None:
    runs.open_round(opened(), ["site-a"])

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(statement)

    assert len(runs.rounds("run-1")) == len(runs.answers("run-1")) == 1


def test_a_second_process_sees_what_the_first_wrote(runs: Runs, tmp_path, database) -> None:
    runs.move("run-1", RunState.RUNNING, at=time.time())

    again = Runs(open_coordinator_store(tmp_path, database))

    assert again.get("run-1").state is RunState.RUNNING
    assert [each.run_id for each in again.unfinished()] == ["run-1"]
