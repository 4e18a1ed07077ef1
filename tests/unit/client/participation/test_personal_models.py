"""What a site makes of a run's final weights for itself: when, how well, who learns of it, when it goes."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sqlalchemy import text

from client.catalog import Catalog, Part
from client.participation import take_part
from client.personalising import MIN_IMAGES, with_layers
from client.store import examples as statements
from client.store.personal_models import Outcome, PersonalModel
from client.training.local_round import LOCAL
from client.using import load_model
from client.workplace import Workplace
from shared.errors import NotFoundError, StoreError, WeightsError
from shared.model import Weights, initial_model
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, PersonalisationPlan, Plan
from shared.records import Contribution, Phase
from shared.store import transaction
from tests.unit.client.participation.conftest import (
    PLAN,
    POLICY,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)
from tests.unit.client.participation.test_take_part import read
from tests.unit.client.participation.test_using_models import publish

OWN = PLAN.model_copy(
    update={"personalisation": PersonalisationPlan(layers="norms", epochs=2, learning_rate=0.1)}
)
RUN = "run-own"


def ask(
    coordinator: MinimalCoordinator, workplace: Workplace, plan: Plan = OWN, *, run_id: str = RUN
) -> Contribution:
    """What the site answers when it is asked how the final weights do."""
    announcement = coordinator.announcement(
        settings=plan, phase=Phase.EVALUATE, round_number=plan.rounds.count, run_id=run_id
    )
    answer = take_part(coordinator.ask(announcement), workplace)
    return read(answer, Contribution, coordinator.home)


def made(workplace: Workplace, run_id: str = RUN) -> PersonalModel:
    found = workplace.personaliser.kept.of_run(run_id)
    assert found is not None
    return found


def final(plan: Plan = OWN) -> Weights:
    return weights_of(initial_model(plan))


@pytest.fixture
def enough(workplace: Workplace) -> None:
    """Enough images in every part, five more of each patient."""
    for seed in range(100, 130):
        add_example(workplace.catalog, patient=f"patient-{seed % 6}", seed=seed)
    assert len(workplace.catalog.examples(Part.VALIDATION)) >= MIN_IMAGES


@pytest.fixture(autouse=True)
def approved(coordinator: MinimalCoordinator, workplace: Workplace) -> None:
    coordinator.approve(OWN, run_id=RUN)


@pytest.mark.usefixtures("enough")
def test_the_personal_layers_never_leave_the_site(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(
        settings=OWN, phase=Phase.EVALUATE, round_number=OWN.rounds.count, run_id=RUN
    )
    theirs = set(coordinator.blobs.digests())

    answer = take_part(coordinator.ask(announcement), workplace)

    layers = made(workplace).layers
    assert layers is not None
    payload = read(answer, Contribution, coordinator.home).to_bytes()
    values = torch.cat([tensor.flatten() for tensor in load(layers).values()])
    told = {float(np.float32(number)) for number in re.findall(rb"-?\d+\.\d+(?:e-?\d+)?", payload)}
    assert told & set(values.tolist()) <= {0.0, 1.0}
    for tensor in load(layers).values():
        content = tensor.numpy().tobytes()
        for form in (content, content.hex().encode(), base64.b64encode(content)[:-4]):
            assert form not in answer
            assert form not in payload
    # One signed contribution has left, of named numbers alone, and no blob.
    rows = ledger_rows(coordinator.home)
    assert [(row.kind, row.tensors) for row in rows if row.run_id == RUN] == [("contribution", {})]
    assert coordinator.ledger_at_send == {}
    assert set(coordinator.blobs.digests()) == theirs
    # Nor do they lie where a blob could be sent from.
    here = [workplace.blobs.path(digest).read_bytes() for digest in workplace.blobs.digests()]
    assert not [blob for blob in here if layers in blob]


@pytest.mark.usefixtures("enough")
def test_both_models_are_measured_on_the_same_test_images_and_told_side_by_side(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    contribution = ask(coordinator, workplace)

    common, own = contribution.evaluation, contribution.personal_evaluation
    assert common is not None and own is not None
    assert common.num_examples == own.num_examples == len(workplace.catalog.examples(Part.TEST))
    assert common.dice != own.dice
    assert made(workplace).outcome is Outcome.OWN_LAYERS
    assert made(workplace).after > made(workplace).before
    (kept,) = workplace.evaluator.kept.of_run(RUN)
    assert (kept.evaluation, kept.personal) == (common, own)


@pytest.mark.usefixtures("enough")
def test_nothing_of_the_own_model_is_told_where_the_common_one_may_not_be(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    num_images = len(workplace.catalog.examples(Part.TEST))
    coordinator.home.policy_file.write_text(
        POLICY.replace("smallest_count = 1", f"smallest_count = {num_images + 1}")
    )

    contribution = ask(coordinator, workplace)

    assert (contribution.evaluation, contribution.personal_evaluation) == (None, None)
    (kept,) = workplace.evaluator.kept.of_run(RUN)
    assert kept.personal is not None  # for eyes at the site


def test_a_site_with_too_few_images_keeps_the_common_model(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    contribution = ask(coordinator, workplace)

    assert contribution.evaluation is not None
    assert contribution.personal_evaluation is None
    assert (made(workplace).outcome, made(workplace).layers) == (Outcome.TOO_FEW_IMAGES, None)


@pytest.mark.usefixtures("enough")
def test_layers_that_do_no_better_on_the_validation_part_are_not_kept(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    still = OWN.model_copy(
        update={"personalisation": OWN.personalisation.model_copy(update={"learning_rate": 1e-12})}
    )
    coordinator.approve(still, run_id="run-still")

    contribution = ask(coordinator, workplace, still, run_id="run-still")

    found = made(workplace, "run-still")
    assert contribution.personal_evaluation is None
    assert (found.outcome, found.epoch, found.layers) == (Outcome.NOT_BETTER, 0, None)
    assert found.before == found.after


@pytest.mark.usefixtures("enough")
def test_fine_tuning_that_goes_astray_costs_nothing_but_itself(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = OWN.model_copy(update={"training": OWN.training.model_copy(update={"augment": False})})
    coordinator.approve(plan, run_id="run-astray")
    dataset = workplace.dataset(plan, Part.TRAIN)
    assert dataset is not None
    for image in dataset._images:
        image.fill_(float("nan"))

    contribution = ask(coordinator, workplace, plan, run_id="run-astray")

    found = made(workplace, "run-astray")
    assert contribution.evaluation is not None
    assert contribution.personal_evaluation is None
    assert (found.outcome, found.layers) == (Outcome.ASTRAY, None)


@pytest.mark.usefixtures("enough")
def test_a_site_that_is_asked_again_takes_the_layers_that_it_has(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(coordinator, workplace)
    monkeypatch.setattr("client.personalising.personalise", None)

    again = ask(coordinator, workplace)

    assert again.personal_evaluation == first.personal_evaluation is not None


@pytest.mark.usefixtures("enough")
def test_layers_are_made_anew_when_the_sites_examples_have_changed(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    ask(coordinator, workplace)
    before = made(workplace)
    for seed in range(200, 210):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)

    ask(coordinator, workplace)

    assert made(workplace).data != before.data
    assert made(workplace).layers != before.layers


@pytest.mark.parametrize("part", [Part.TRAIN, Part.VALIDATION])
@pytest.mark.usefixtures("enough")
def test_the_layers_go_with_a_patient_whom_they_learnt_from(
    part: Part, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    ask(coordinator, workplace)
    layers = made(workplace).layers
    assert layers is not None

    removal = remove_one_of(part, workplace.catalog)

    assert removal.runs == (RUN,)
    assert workplace.personaliser.kept.of_run(RUN) is None
    assert layers[-256:] not in coordinator.home.store_file.read_bytes()


@pytest.mark.usefixtures("enough")
def test_the_layers_stay_when_somebody_goes_whom_they_did_not_learn_from(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    ask(coordinator, workplace)

    removal = remove_one_of(Part.TEST, workplace.catalog)

    assert removal.runs == ()
    assert made(workplace).layers is not None


@pytest.mark.usefixtures("enough")
def test_layers_that_were_being_learnt_from_somebody_who_is_taken_out_are_not_kept(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client import personalising

    learn = personalising.personalise

    def learn_while_one_goes(*arguments, **options):
        personal = learn(*arguments, **options)
        remove_one_of(Part.TRAIN, workplace.catalog)
        return personal

    monkeypatch.setattr(personalising, "personalise", learn_while_one_goes)

    contribution = ask(coordinator, workplace)

    assert contribution.personal_evaluation is None
    assert workplace.personaliser.kept.of_run(RUN) is None


@pytest.mark.usefixtures("enough")
def test_layers_in_which_a_byte_has_changed_are_used_nowhere(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    ask(coordinator, workplace)
    damaged = bytearray(made(workplace).layers or b"")
    damaged[-1] ^= 1
    with transaction(workplace.catalog._engine) as connection:
        connection.execute(text("UPDATE personal_model SET layers = :layers"), {"layers": bytes(damaged)})

    with pytest.raises(StoreError, match="damaged"):
        workplace.personaliser.kept.of_run(RUN)


@pytest.mark.usefixtures("enough")
def test_under_fedbn_the_norms_of_the_rounds_are_the_sites_own(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = PLAN.model_copy(update={"aggregation": AggregationPlan(strategy="fedbn")})
    coordinator.approve(plan, run_id="run-bn")
    trained = coordinator.announcement(settings=plan, run_id="run-bn")
    take_part(coordinator.ask(trained), workplace)
    asked = coordinator.announcement(
        settings=plan, phase=Phase.EVALUATE, round_number=3, run_id="run-bn", counted=1
    )

    contribution = read(take_part(coordinator.ask(asked), workplace), Contribution, coordinator.home)

    assert contribution.personal_evaluation is None  # the plan wants no fine-tuning
    state = workplace.records.state_after(asked.counted)
    layers = load(made(workplace, "run-bn").layers or b"")
    assert layers
    assert all(torch.equal(tensor, state[LOCAL + name]) for name, tensor in layers.items())


# -- in use


@pytest.mark.usefixtures("enough")
def test_the_own_model_is_used_with_the_weights_that_it_was_made_of(
    coordinator: MinimalCoordinator, workplace: Workplace, tmp_path
) -> None:
    ask(coordinator, workplace)
    folder = publish(tmp_path / "model", coordinator.signing_key, plan=OWN, run_id=RUN)

    model, common = load_model(coordinator.home, folder, personal=True), load_model(coordinator.home, folder)

    assert (model.loaded.has_own_layers, common.loaded.has_own_layers) == (True, False)
    expected = with_layers(final(), made(workplace).layers or b"")
    assert to_bytes(weights_of(model.loaded.network)) == to_bytes(expected) != to_bytes(final())
    assert to_bytes(weights_of(common.loaded.network)) == to_bytes(final())


@pytest.mark.usefixtures("enough")
def test_the_own_model_is_not_used_with_other_weights_of_the_same_run(
    coordinator: MinimalCoordinator, workplace: Workplace, tmp_path
) -> None:
    ask(coordinator, workplace)
    other = to_bytes({name: tensor + 0.5 for name, tensor in final().items()})
    folder = publish(tmp_path / "model", coordinator.signing_key, other, plan=OWN, run_id=RUN)

    with pytest.raises(NotFoundError, match="no model of its own"):
        load_model(coordinator.home, folder, personal=True)


def test_a_site_that_keeps_the_common_model_uses_that(
    coordinator: MinimalCoordinator, workplace: Workplace, tmp_path
) -> None:
    ask(coordinator, workplace)
    folder = publish(tmp_path / "model", coordinator.signing_key, plan=OWN, run_id=RUN)

    model = load_model(coordinator.home, folder, personal=True)

    assert not model.loaded.has_own_layers
    assert to_bytes(weights_of(model.loaded.network)) == to_bytes(final())


def test_layers_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError):
        with_layers(final(), to_bytes({"other": torch.zeros(2)}))
    with pytest.raises(WeightsError):
        with_layers(final(), b"no layers")


def remove_one_of(part: Part, catalog: Catalog):
    with transaction(catalog._engine) as connection:
        row = statements.find_example(connection, "example_id", catalog.examples(part)[0])
    assert row is not None
    with catalog.importing():
        return catalog.remove_patient(row.patient, actor="local:test")
