"""A site's second look at what it is asked: whatever the coordinator says, what was approved here holds.

After each attack nothing was fetched, nothing but a refusal has left, and the approval stands as it stood.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flwr.app import Context, Message, Metadata, RecordDict

import client.evaluation.images
import client.own_training
import client.participation
from client.catalog import Part
from client.consenting import Consenting
from client.evaluation.evaluator import PART_OF_PHASE
from client.flower.app import make_refusing_app
from client.flower.executor import is_approved
from client.home import SiteHome
from client.participation import take_part
from client.plan_states import PlanState
from client.round_records import RoundRecord, RoundRecords
from client.training.trainer import Step
from client.workplace import Workplace
from shared.consent.records import Offer
from shared.errors import NotFoundError, PolicyError, TrustError, VersionError
from shared.flower.wire import MESSAGE_TYPE, pack, unpack
from shared.plan import MetricName, Plan
from shared.records import CONTRIBUTION_TYPE, REFUSAL_TYPE, Announcement, Contribution, Phase, Refusal
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import SigningKey
from tests.unit.client.participation.conftest import (
    BUNDLE_SHA256,
    OWNER,
    PLAN,
    POLICY,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)

ROUNDS = PLAN.rounds.count
CHANGED = PLAN.model_copy(update={"seed": 6})
EXTENDED = PLAN.model_copy(update={"rounds": PLAN.rounds.model_copy(update={"count": ROUNDS + 1})})


def own_key(home: SiteHome):
    return SigningKey.load(home.signing_key_file).verify_key


def refusal_in(answer: bytes, home: SiteHome) -> Refusal:
    return Refusal.from_bytes(verify(Envelope.from_bytes(answer), REFUSAL_TYPE, own_key(home)))


def contribution_in(answer: bytes, home: SiteHome) -> Contribution:
    return Contribution.from_bytes(verify(Envelope.from_bytes(answer), CONTRIBUTION_TYPE, own_key(home)))


def refused(announcement: Announcement, coordinator: MinimalCoordinator, workplace: Workplace) -> Refusal:
    """The refusal that an announcement gets, with nothing fetched, sent or changed for it."""
    before = [(row.run_id, row.kind) for row in ledger_rows(coordinator.home)]
    fetched = list(coordinator.fetched)
    approved = plan_at(coordinator.home)

    refusal = refusal_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)

    after = [(row.run_id, row.kind) for row in ledger_rows(coordinator.home)]
    assert refusal.occasion == announcement.occasion
    assert coordinator.fetched == fetched
    assert after == [*before, (announcement.occasion.run_id, "refusal")]
    assert plan_at(coordinator.home) == approved
    return refusal


def plan_at(home: SiteHome):
    with Consenting(home) as consenting:
        return consenting.plans.get("run-1")


# -- asking for something else than what was approved


def test_a_run_that_was_never_offered_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(run_id="run-2")

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


def test_a_plan_that_was_changed_after_its_approval_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(plan=CHANGED.to_toml().encode())

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


@pytest.mark.parametrize("plan", [CHANGED, EXTENDED], ids=["changed", "extended"])
def test_a_plan_that_was_changed_cannot_slip_in_by_offering_its_run_again(
    plan: Plan, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    before = plan_at(coordinator.home)
    envelope = coordinator.offer(plan)
    offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)

    with Consenting(coordinator.home) as consenting, pytest.raises(TrustError, match="under another plan"):
        consenting.plans.keep(offer, envelope=envelope, at=time.time())

    assert plan_at(coordinator.home) == before
    announcement = coordinator.announcement(plan=plan.to_toml().encode())
    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


def test_a_run_that_was_approved_under_one_protocol_is_not_approved_under_the_next(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    before = plan_at(coordinator.home)
    envelope = coordinator.offer(PLAN)
    offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
    upgraded = offer.model_copy(update={"bundle_sha256": "c" * 64})

    with (
        Consenting(coordinator.home) as consenting,
        pytest.raises(VersionError, match="under another version of the protocol"),
    ):
        consenting.plans.keep(upgraded, envelope=envelope, at=time.time())

    assert plan_at(coordinator.home) == before


def test_an_extended_plan_is_a_run_of_its_own_and_waits_for_an_approval_of_its_own(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    child = EXTENDED.model_copy(update={"parent": PLAN.sha256})
    envelope = coordinator.offer(child, run_id="run-2")
    offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
    with Consenting(coordinator.home) as consenting:
        consenting.plans.keep(offer, envelope=envelope, at=time.time())
        assert consenting.plans.get("run-2").state is PlanState.WAITING
    announcement = coordinator.announcement(plan=child.to_toml().encode(), run_id="run-2")

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


@pytest.mark.parametrize(
    ("phase", "round_number"),
    [
        (Phase.TRAIN, ROUNDS + 1),
        (Phase.TRAIN, 0),
        (Phase.EVALUATE, ROUNDS + 1),
        (Phase.EVALUATE, 1),
        (Phase.COUNT, 1),
    ],
)
def test_a_round_that_the_approved_plan_does_not_have_gets_nothing(
    phase: Phase, round_number: int, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(phase=phase, round_number=round_number)

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


def test_more_updates_than_the_approved_rounds_can_need_do_not_leave(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    for attempt in range(1, 3 * ROUNDS + 1):
        answer = take_part(coordinator.ask(coordinator.announcement(attempt=attempt)), workplace)
        contribution_in(answer, coordinator.home)

    announcement = coordinator.announcement(attempt=3 * ROUNDS + 1)

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"
    last_again = take_part(coordinator.ask(coordinator.announcement(attempt=3 * ROUNDS)), workplace)
    assert contribution_in(last_again, coordinator.home).update is not None  # the same one is no new update


def test_going_back_to_a_round_that_is_done_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    take_part(coordinator.ask(coordinator.announcement(round_number=2)), workplace)

    announcement = coordinator.announcement(round_number=1, attempt=2)

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


def test_asking_for_other_metrics_than_the_approved_plan_names_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    modest = PLAN.model_copy(update={"metrics": ("loss",)})
    coordinator.approve(modest, run_id="run-2")
    document = {"plan": modest.to_toml().encode(), "run_id": "run-2"}

    asking_all = coordinator.announcement(metrics=("train_loss", "loss", "dice"), **document)
    asking_as_approved = coordinator.announcement(metrics=("loss",), **document)

    assert refused(asking_all, coordinator, workplace).reason == "NotApprovedError"
    answer = contribution_in(take_part(coordinator.ask(asking_as_approved), workplace), coordinator.home)
    assert answer.train_loss is None
    assert answer.evaluation is not None
    told = answer.evaluation.model_dump(exclude_none=True)
    assert set(told) == {"num_examples", "loss"}


@pytest.mark.parametrize("name", ["hausdorff", "calibration"])
def test_what_is_told_of_the_final_model_alone_is_not_told_in_a_round(
    name: MetricName, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(metrics=("loss", name))

    assert refused(announcement, coordinator, workplace).reason == "NotApprovedError"


def test_an_approval_that_was_taken_back_ends_the_sites_part(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    with Consenting(coordinator.home) as consenting:
        consenting.reject("run-1", "we have changed our mind", OWNER)

    assert refused(coordinator.announcement(), coordinator, workplace).reason == "NotApprovedError"


# -- bundles


def test_a_bundle_whose_bytes_were_swapped_is_answered_by_a_signed_refusal(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    home = coordinator.home
    assert is_approved(home, BUNDLE_SHA256)
    assert not is_approved(home, "c" * 64)
    envelope = coordinator.ask(coordinator.announcement())
    metadata = Metadata(
        run_id=1,
        message_id="m",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=60.0,
        message_type=MESSAGE_TYPE,
    )
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})

    reply = make_refusing_app(workplace)(Message(metadata=metadata, content=pack(envelope)), context)

    assert refusal_in(unpack(reply), home).reason == "BundleError"
    assert coordinator.fetched == []


def test_the_policys_list_of_bundles_stands_above_the_sites_own(home: SiteHome) -> None:
    home.folder.mkdir()
    home.approved_bundles_file.write_text(f"# approved\n{'a' * 64}  mammofed 0.1.0\n")
    assert is_approved(home, "a" * 64)

    home.policy_file.write_text(f'allow.bundles = ["{"b" * 64}"]\n')

    assert not is_approved(home, "a" * 64)
    assert is_approved(home, "b" * 64)


def test_a_run_with_another_bundle_than_those_approved_cannot_be_approved(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.approved_bundles_file.write_text("d" * 64)

    with pytest.raises(PolicyError, match=r"allow\.bundles"):
        coordinator.approve(run_id="run-2")

    assert refused(coordinator.announcement(), coordinator, workplace).rules == ("allow.bundles",)


# -- the policy of this moment


def test_a_policy_that_became_stricter_holds_for_a_plan_that_was_approved_before(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.policy_file.write_text(f"{POLICY}limits.rounds = {ROUNDS - 1}\n")

    refusal = refused(coordinator.announcement(), coordinator, workplace)

    assert (refusal.reason, refusal.rules) == ("PolicyError", ("limits.rounds",))


def test_under_a_wrong_policy_everything_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.policy_file.write_text(f"{POLICY}limits.rounds = many\n")

    assert refused(coordinator.announcement(), coordinator, workplace).reason == "PolicyFileError"


def test_outside_its_hours_a_site_says_from_when_on_it_may_be_asked(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    opening = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    closing = opening + timedelta(hours=2)
    hours = f'hours.begin = "{opening:%H:%M}"\nhours.end = "{closing:%H:%M}"\nhours.time_zone = "UTC"\n'
    coordinator.home.policy_file.write_text(POLICY + hours)

    refusal = refused(coordinator.announcement(), coordinator, workplace)

    assert (refusal.reason, refusal.not_before) == ("NotNowError", opening.timestamp())


def test_counts_leave_rounded_down_and_small_parts_are_not_told_of(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    train, validation = (len(workplace.catalog.examples(part)) for part in (Part.TRAIN, Part.VALIDATION))
    assert train == 3
    assert validation < 2
    coordinator.home.policy_file.write_text(
        "data.min_examples = 1\negress.smallest_count = 2\negress.round_counts_to = 2\n"
    )

    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    contribution = contribution_in(answer, coordinator.home)
    assert contribution.num_examples == 2
    assert contribution.evaluation is None


def test_the_count_that_weighs_a_site_leaves_rounded_down(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert len(workplace.catalog.examples(Part.TRAIN)) == 3
    coordinator.home.policy_file.write_text(
        "data.min_examples = 1\negress.smallest_count = 2\negress.round_counts_to = 2\n"
    )
    announcement = coordinator.announcement(phase=Phase.COUNT, round_number=0, metrics=())

    answer = take_part(coordinator.ask(announcement), workplace)

    assert contribution_in(answer, coordinator.home).num_examples == 2
    (line,) = ledger_rows(coordinator.home)
    assert (line.kind, line.rule, line.round_number, line.phase) == (
        "contribution",
        "listed-numbers",
        0,
        "count",
    )


@pytest.mark.parametrize("rule", ["data.min_examples = 4", "egress.smallest_count = 4"])
def test_a_site_whose_training_part_is_too_small_to_be_told_of_is_not_counted(
    rule: str, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    others = "\n".join(line for line in POLICY.splitlines() if not rule.startswith(line.split(" ")[0]))
    coordinator.home.policy_file.write_text(f"{others}\n{rule}\n")
    announcement = coordinator.announcement(phase=Phase.COUNT, round_number=0, metrics=())

    refusal = refused(announcement, coordinator, workplace)

    assert (refusal.reason, refusal.rules) == ("PolicyError", ("data.min_examples",))


# -- answers that are on record


def pause(coordinator: MinimalCoordinator) -> None:
    coordinator.home.paused_file.touch()


def take_the_approval_back(coordinator: MinimalCoordinator) -> None:
    with Consenting(coordinator.home) as consenting:
        consenting.reject("run-1", "we have changed our mind", OWNER)


def end_run(coordinator: MinimalCoordinator) -> None:
    """The coordinator does not offer the run any more: it was stopped there."""
    with Consenting(coordinator.home) as consenting:
        consenting.plans.close(still_open=[])
    assert plan_at(coordinator.home).state is PlanState.OVER


def bar_a_metric(coordinator: MinimalCoordinator) -> None:
    coordinator.home.policy_file.write_text(f"{POLICY}egress.metrics = ['loss']\n")


def ask_for_more_examples(coordinator: MinimalCoordinator) -> None:
    coordinator.home.policy_file.write_text("data.min_examples = 4\negress.smallest_count = 1\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pause, "PausedError"),
        (take_the_approval_back, "NotApprovedError"),
        (end_run, "NotApprovedError"),
        (bar_a_metric, "PolicyError"),
        (ask_for_more_examples, "PolicyError"),
    ],
)
def test_a_stored_answer_does_not_leave_again_when_it_may_not_leave_now(
    change: Callable[[MinimalCoordinator], None],
    reason: str,
    coordinator: MinimalCoordinator,
    workplace: Workplace,
) -> None:
    announcement = coordinator.announcement()
    contribution_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)
    coordinator.ledger_at_send.clear()
    change(coordinator)

    assert refused(announcement, coordinator, workplace).reason == reason
    assert coordinator.ledger_at_send == {}


def test_the_numbers_of_a_stored_answer_leave_as_the_policy_of_now_lets_them(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()
    first = contribution_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)
    coordinator.home.policy_file.write_text(
        "data.min_examples = 1\negress.smallest_count = 2\negress.round_counts_to = 2\n"
    )

    again = contribution_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)

    assert again.update == first.update
    assert (first.num_examples, again.num_examples) == (3, 2)
    assert first.evaluation is not None
    assert again.evaluation is None


def test_a_pause_while_the_update_was_on_record_and_not_yet_sent_keeps_it_here(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcement = coordinator.announcement()
    keep = RoundRecords.keep

    def keep_and_pause(records: RoundRecords, record: RoundRecord) -> None:
        keep(records, record)
        pause(coordinator)

    monkeypatch.setattr(RoundRecords, "keep", keep_and_pause)

    answer = take_part(coordinator.ask(announcement), workplace)

    assert refusal_in(answer, coordinator.home).reason == "PausedError"
    assert workplace.records.find(announcement) is not None
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]
    coordinator.home.paused_file.unlink()
    resumed = take_part(coordinator.ask(announcement), workplace)
    assert contribution_in(resumed, coordinator.home).update is not None


# -- pauses


def test_a_paused_site_answers_that_it_is_paused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.paused_file.touch()

    assert refused(coordinator.announcement(), coordinator, workplace).reason == "PausedError"


def end_hours(coordinator: MinimalCoordinator) -> None:
    now = datetime.now(UTC)
    begin, end = now + timedelta(hours=2), now + timedelta(hours=4)
    hours = f'hours.begin = "{begin:%H:%M}"\nhours.end = "{end:%H:%M}"\n'
    coordinator.home.policy_file.write_text(f'{POLICY}{hours}hours.time_zone = "UTC"\n')


ENDS = pytest.mark.parametrize(
    ("end", "reason"),
    [(pause, "PausedError"), (end_hours, "NotNowError"), (end_run, "NotApprovedError")],
    ids=["a pause", "its hours", "the end of its run"],
)


@ENDS
def test_training_stops_within_a_step_and_nothing_of_it_leaves(
    end: Callable[[MinimalCoordinator], None],
    reason: str,
    coordinator: MinimalCoordinator,
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = []

    def on_step(step: Step) -> None:
        steps.append(step.number)
        end(coordinator)

    monkeypatch.setattr(client.own_training, "_tell_step", lambda *_: on_step)

    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    assert refusal_in(answer, coordinator.home).reason == reason
    assert steps == [1]
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]


@ENDS
@pytest.mark.parametrize(("phase", "number"), [(Phase.TRAIN, 1), (Phase.EVALUATE, ROUNDS)])
def test_an_evaluation_stops_within_a_batch_and_nothing_of_it_leaves_or_is_kept(
    phase: Phase,
    number: int,
    end: Callable[[MinimalCoordinator], None],
    reason: str,
    coordinator: MinimalCoordinator,
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(100, 130):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)
    part = PART_OF_PHASE[phase]
    assert len(workplace.catalog.examples(part)) > PLAN.training.batch_size
    evaluate_batch, batches = client.evaluation.images._evaluate_batch, []

    def end_amid(*asked: object) -> object:
        batches.append(asked)
        end(coordinator)
        return evaluate_batch(*asked)

    monkeypatch.setattr(client.evaluation.images, "_evaluate_batch", end_amid)
    monkeypatch.setattr("client.training.site_trainer.train", None)

    announcement = coordinator.announcement(phase=phase, round_number=number)
    answer = take_part(coordinator.ask(announcement), workplace)

    assert refusal_in(answer, coordinator.home).reason == reason
    assert len(batches) == 1
    assert workplace.evaluator.kept.told(part) == []
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]


def test_a_pause_after_the_last_step_keeps_the_update_here(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause_at_the_end(_occasion: object) -> object:
        def on_step(step: Step) -> None:
            if step.number == step.num_steps:
                coordinator.home.paused_file.touch()

        return on_step

    monkeypatch.setattr(client.own_training, "_tell_step", lambda occasion, _work: pause_at_the_end(occasion))

    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    assert refusal_in(answer, coordinator.home).reason == "PausedError"
    assert coordinator.ledger_at_send == {}


# -- a person's decision


def test_a_plan_that_breaks_the_policy_cannot_be_approved_by_a_person_either(
    coordinator: MinimalCoordinator, workplace: Workplace, tmp_path: Path
) -> None:
    too_long = PLAN.model_copy(update={"rounds": PLAN.rounds.model_copy(update={"count": 10_000})})

    with pytest.raises(PolicyError, match=r"limits\.rounds: 10000 rounds; at most 200"):
        coordinator.approve(too_long, run_id="run-2")

    with Consenting(coordinator.home) as consenting:
        assert consenting.plans.get("run-2").state is PlanState.WAITING
        with pytest.raises(NotFoundError):
            consenting.plans.get("run-3")


def test_an_unnecessary_approval_waits_for_nobody_and_a_broken_rule_bars_until_it_is_mended(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    home = coordinator.home
    envelope = coordinator.offer(run_id="run-2")
    offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
    with Consenting(home) as consenting:
        consenting.plans.keep(offer, envelope=envelope, at=time.time())
        for policy, state, rules in (
            ("limits.rounds = 1\n", PlanState.BARRED, ("limits.rounds",)),
            (
                "limits.rounds = 1\nprivacy.noise = 'required'\n",
                PlanState.BARRED,
                ("limits.rounds", "privacy.noise"),
            ),
            ("limits = 3\n", PlanState.BARRED, ("policy_file",)),
            ("", PlanState.WAITING, ()),
            ("approval = 'not needed'\n", PlanState.APPROVED, ()),
            ("approval = 'not needed'\nlimits.rounds = 1\n", PlanState.APPROVED, ()),
        ):
            home.policy_file.write_text(POLICY + policy)
            consenting.apply_policy()
            found = consenting.plans.get("run-2")
            assert (found.state, found.rules) == (state, rules)
        assert len(consenting.plans.owed()) == 1 + 3 + 1  # run-1's, three refusals, one approval
