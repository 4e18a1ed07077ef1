"""The form of a new run: the plan's own, checked while it is filled in, and started as it says."""

from __future__ import annotations

import html

import pytest

from server.console.plan_form import SETTINGS, check, values_of
from server.estimate import PastRounds, estimate, past_rounds
from server.submission import with_privacy_settled
from shared.errors import UnreachableError
from shared.plan import (
    AggregationPlan,
    ModelPlan,
    PatientNoisePlan,
    PersonalisationPlan,
    Plan,
    PrivacyPlan,
    RoundsPlan,
    SiteNoisePlan,
    TrainingPlan,
)
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.console.console import Console
from tests.unit.server.console.recorded_runs import ROUND_S, plan_of, record_run
from tests.unit.server.console.test_federation_page import text_of

FORM = {**values_of(None), "name": "density", "rounds.count": "40"}


@pytest.fixture
def federation(console: Console) -> Console:
    for name in ("aarhus", "bergen", "cork"):
        console.enrol(name)
    return console


def test_a_form_that_is_filled_in_with_nothing_but_what_is_needed_is_the_plan_with_its_defaults() -> None:
    assert check(FORM).plan == Plan(name="density", rounds=RoundsPlan(count=40))


def test_every_setting_of_a_plan_comes_back_from_its_form() -> None:
    plan = Plan(
        name="density",
        seed=7,
        metrics=("loss", "dice"),
        rounds=RoundsPlan(count=3, quorum=5, timeout_s=60.5, late_updates="refuse"),
        model=ModelPlan(size="tiny", width=0.5, density_band="readers", pixel_mm=0.4, encoder="resnet18"),
        training=TrainingPlan(learning_rate=0.000123456789, augment=False, deterministic=True),
        aggregation=AggregationPlan(strategy="median", bits=8, compression="none", max_update_norm=2.5),
        personalisation=PersonalisationPlan(layers="norms", epochs=2),
    )

    assert check(values_of(plan)).plan == plan


def test_a_table_of_the_plan_that_may_be_left_out_is_there_if_it_is_filled_in() -> None:
    noise = PatientNoisePlan(multiplier=1.5, gradient_norm=2, delta=1e-6)
    plan = Plan(
        name="density", rounds=RoundsPlan(count=40), metrics=(), privacy=PrivacyPlan(patient_noise=noise)
    )

    assert check(values_of(plan)).plan == plan
    assert check(FORM).plan.privacy.patient_noise is None
    half_filled = check({**FORM, "privacy.patient_noise.gradient_norm": "2"})
    assert half_filled.faults == {"privacy.patient_noise.multiplier": "This is needed."}


def test_the_form_has_every_setting_that_a_person_may_choose() -> None:
    tables = ("rounds", "model", "training", "aggregation", "personalisation", "privacy")
    whole = {f"{table}.{key}" for table in tables for key in Plan.model_fields[table].annotation.model_fields}
    for name, table in (("patient_noise", PatientNoisePlan), ("site_noise", SiteNoisePlan)):
        whole -= {f"privacy.{name}"}
        whole |= {f"privacy.{name}.{key}" for key in table.model_fields}

    assert {setting.name for setting in SETTINGS} == whole | {"name", "seed", "metrics"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("name", "A density", "a-z, 0-9 and hyphens"),
        ("name", "", "needed"),
        ("rounds.count", "0", "greater than or equal to 1"),
        ("rounds.count", "many", "valid integer"),
        ("training.learning_rate", "nan", "valid number"),
        ("model.input_height_px", "100", "multiple of 32"),
        ("aggregation.strategy", "fedsomething", "'fedavg'"),
    ],
)
def test_what_is_wrong_is_said_of_its_setting(name: str, value: str, words: str) -> None:
    checked = check({**FORM, name: value})

    assert checked.plan is None
    assert list(checked.faults) == [name]
    assert words in checked.faults[name]


def test_what_does_not_go_together_is_said_of_the_whole() -> None:
    assert "rounds.quorum" in check({**FORM, "aggregation.strategy": "median"}).faults[""]


@pytest.mark.parametrize(("setting", "said"), [({}, True), ({"privacy.secure_aggregation": "off"}, False)])
def test_the_form_says_that_masks_need_all_three_hospitals_where_there_are_no_more(
    federation: Console, setting: dict[str, str], said: bool
) -> None:
    def cost() -> str:
        answer = federation.browser_of("otto").post("/runs/new/check", {**FORM, **setting})
        return text_of(answer.json()["cost"])

    assert ("3 hospitals at the least, and there are 3" in cost()) is said
    federation.enrol("oslo")
    assert ("3 hospitals at the least." in cost()) is said


def test_an_operator_fills_the_form_in_and_the_hospitals_are_asked(federation: Console) -> None:
    browser = federation.browser_of("otto")
    assert "Ask the hospitals" in browser.get("/runs/new").text

    answer = browser.post("/runs/new", FORM)

    (run,) = federation.coordinator.runs.all()
    assert answer.headers["location"] == f"/runs/{run.run_id}"
    num_sites = len(federation.coordinator.federation.active())
    asked = with_privacy_settled(Plan(name="density", rounds=RoundsPlan(count=40)), num_sites=num_sites)
    assert Plan.from_toml(run.plan_toml) == asked
    assert [line[0] for line in federation.lines("run.submitted")] == ["person:otto"]


def test_a_run_that_changes_an_earlier_one_names_its_plan(federation: Console) -> None:
    earlier = record_run(federation.coordinator, plan_of(5), done=2)
    browser = federation.browser_of("otto")

    assert 'value="5"' in browser.get("/runs/new?from=run-1").text
    browser.post("/runs/new", {**FORM, "parent": "run-1"})

    newest = federation.coordinator.runs.all()[-1]
    assert Plan.from_toml(newest.plan_toml).parent == earlier.plan_sha256


def test_a_form_that_is_wrong_comes_back_as_it_was_and_starts_nothing(federation: Console) -> None:
    answer = federation.browser_of("otto").post("/runs/new", {**FORM, "rounds.count": "0", "seed": "41"})

    assert answer.status_code == 422
    assert "greater than or equal to 1" in html.unescape(answer.text)
    assert 'value="41"' in answer.text
    assert federation.coordinator.runs.all() == []


def test_a_plan_that_needs_more_hospitals_than_there_are_starts_nothing(federation: Console) -> None:
    answer = federation.browser_of("otto").post("/runs/new", {**FORM, "rounds.quorum": "4"})

    assert "3 hospitals have joined" in html.unescape(answer.text)
    assert federation.coordinator.runs.all() == []


def test_nothing_is_started_while_the_coordinators_processes_are_down(federation: Console) -> None:
    federation.superlink.error = UnreachableError("The coordinator is not running.", "Start it.")

    assert federation.browser_of("otto").post("/runs/new", FORM).status_code == 503
    assert federation.coordinator.runs.all() == []


def test_the_plan_is_saved_as_the_toml_that_is_started_by_command(federation: Console) -> None:
    answer = federation.browser_of("otto").post("/runs/new/plan.toml", FORM)

    assert answer.headers["content-disposition"] == 'attachment; filename="density.toml"'
    assert Plan.from_toml(answer.text) == check(FORM).plan


def test_while_it_is_filled_in_the_form_is_told_faults_and_cost(federation: Console) -> None:
    record_run(federation.coordinator, plan_of(5), done=3)
    browser, like_it = federation.browser_of("otto"), values_of(plan_of(40))

    wrong = browser.post("/runs/new/check", {**like_it, "seed": "-1"}).json()
    right = browser.post("/runs/new/check", like_it).json()

    assert list(wrong["faults"]) == ["seed"]
    assert "when the plan is whole" in wrong["cost"]
    assert right["faults"] == {}
    assert "about 50 min 00 s for 40 rounds" in text_of(right["cost"])


def test_role_escalation_a_viewer_plans_no_run(federation: Console) -> None:
    browser = federation.browser_of("vera")

    assert browser.get("/runs/new").status_code == 403
    for path in ("/runs/new", "/runs/new/check", "/runs/new/plan.toml"):
        assert browser.post(path, FORM).status_code == 403
    assert federation.coordinator.runs.all() == []


def test_cross_site_scripting_what_was_typed_is_text_when_the_form_comes_back(federation: Console) -> None:
    text = federation.browser_of("otto").post("/runs/new", {**FORM, "name": '"><b onclick=x>'}).text

    assert "<b onclick" not in text


# -- the estimate


def test_time_grows_with_rounds_and_epochs_and_bytes_with_rounds_and_hospitals() -> None:
    past = PastRounds(
        run_id="run-1",
        run_name="density",
        num_rounds=5,
        round_s=60.0,
        num_epochs=2,
        down_bytes=100.0,
        up_bytes=10.0,
    )
    plan = Plan(name="density", rounds=RoundsPlan(count=10), training=TrainingPlan(local_epochs=4))

    told = estimate(plan, past, num_sites=3)

    assert told.seconds == 60 * 10 * 2
    assert (told.down_bytes, told.up_bytes) == (3000, 300)


def test_an_estimate_is_by_a_run_of_the_same_network_or_there_is_none(federation: Console) -> None:
    record_run(federation.coordinator, plan_of(5), done=3)
    other = plan_of(9).model_copy(update={"model": ModelPlan()})

    found = past_rounds(plan_of(9), federation.coordinator)

    assert past_rounds(other, federation.coordinator) is None
    assert found is not None
    assert (found.num_rounds, found.round_s) == (3, ROUND_S)
    assert (found.down_bytes, found.up_bytes) == (7, BlobRef.of(b"update").size_bytes)
