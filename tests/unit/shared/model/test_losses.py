import math
from dataclasses import replace

import pytest
import torch

from shared.model.density_band import UNKNOWN_BAND
from shared.model.losses import BAND_WEIGHT, MultitaskLoss
from shared.model.networks import Logits
from shared.model.targets import Targets

BREAST_NHW = torch.tensor([[[0, 1, 2, 1]]])
DENSE_NHW = torch.tensor([[[False, True, False, False]]])
TARGETS = Targets.complete(BREAST_NHW, DENSE_NHW)
DICE_CE_OF_NOTHING = {
    # Each class has probability 1/3. Cross entropy ln 3. Soft Dice of a class with k of 4 pixels is
    # 1 - 2(k/3)/(4/3 + k): for k = 1, 2, 1 that is 5/7, 3/5, 5/7.
    "breast": math.log(3) + (5 / 7 + 3 / 5 + 5 / 7) / 3,
    # Probability 1/2, k = 1. Cross entropy ln 2. Dice 1 - 2(1/2)/(2 + 1) = 2/3.
    "dense": math.log(2) + 2 / 3,
}


def _logits(confidence: float) -> Logits:
    breast = torch.nn.functional.one_hot(BREAST_NHW, 3).permute(0, 3, 1, 2).float()
    return {"breast": breast * confidence, "dense": (DENSE_NHW[:, None] * 2.0 - 1) * confidence}


def _loss(logits: Logits, targets: Targets = TARGETS, name: str = "dice_ce") -> float:
    return MultitaskLoss(name)(logits, targets).objective.item()


@pytest.mark.parametrize("name", ["dice_ce", "focal_tversky"])
def test_the_loss_of_a_certain_and_right_answer_is_nearly_zero(name: str) -> None:
    assert _loss(_logits(40.0), name=name) < 1e-4


def test_the_loss_of_knowing_nothing_is_the_sum_worked_out_by_hand() -> None:
    assert math.isclose(_loss(_logits(0.0)), sum(DICE_CE_OF_NOTHING.values()), rel_tol=1e-4)


def test_the_focal_tversky_loss_of_knowing_nothing_is_the_sum_worked_out_by_hand() -> None:
    # With one pixel of grace, the Tversky index of a class with k of 4 pixels and probability p is
    # (pk + 1) / (pk + 0.3 p(4 - k) + 0.7 (1 - p) k + 1).
    def miss(p: float, k: int) -> float:
        return (1 - (p * k + 1) / (p * k + 0.3 * p * (4 - k) + 0.7 * (1 - p) * k + 1)) ** 0.75

    expected = (2 * miss(1 / 3, 1) + miss(1 / 3, 2)) / 3 + miss(1 / 2, 1)

    assert math.isclose(_loss(_logits(0.0), name="focal_tversky"), expected, rel_tol=1e-4)


def test_a_missed_pixel_costs_more_than_a_false_one_under_focal_tversky() -> None:
    missed, false = _logits(20.0), _logits(20.0)
    missed["dense"] = torch.tensor([[[[-20.0, -20, -20, -20]]]])
    false["dense"] = torch.tensor([[[[20.0, 20, -20, -20]]]])

    assert _loss(missed, name="focal_tversky") > _loss(false, name="focal_tversky")


def test_a_wrong_answer_costs_more_the_surer_it_is() -> None:
    assert _loss(_logits(-5.0)) > _loss(_logits(-1.0)) > _loss(_logits(0.0))


@pytest.mark.parametrize("name", ["dice_ce", "focal_tversky"])
@pytest.mark.parametrize("confidence", [0.0, 1.0, 60.0, -60.0])
def test_gradients_are_finite_however_sure_the_network_is(name: str, confidence: float) -> None:
    logits = {task: scores.requires_grad_() for task, scores in _logits(confidence).items()}

    MultitaskLoss(name)(logits, TARGETS).objective.backward()

    assert all(bool(torch.isfinite(scores.grad).all()) for scores in logits.values())


def test_log_variances_weight_the_tasks_as_worked_out_by_hand_and_the_plain_loss_stays() -> None:
    logits = _logits(0.0)
    logits["log_variances_T"] = torch.tensor([math.log(2), -1.0])

    loss = MultitaskLoss("dice_ce")(logits, TARGETS)

    breast, dense = DICE_CE_OF_NOTHING.values()
    assert math.isclose(loss.objective.item(), breast / 2 + math.log(2) + math.e * dense - 1, rel_tol=1e-4)
    assert math.isclose(loss.plain.item(), breast + dense, rel_tol=1e-4)
    assert not loss.plain.requires_grad


def test_steps_on_the_log_variances_lead_to_the_logarithm_of_each_loss() -> None:
    # d/ds (exp(-s) L + s) = 0 at s = ln L.
    logits = _logits(0.0)
    log_variances_T = torch.zeros(2, requires_grad=True)
    logits["log_variances_T"] = log_variances_T
    optimizer = torch.optim.SGD([log_variances_T], lr=0.5)

    for _ in range(60):
        optimizer.zero_grad()
        MultitaskLoss("dice_ce")(logits, TARGETS).objective.backward()
        optimizer.step()

    expected = [math.log(loss) for loss in DICE_CE_OF_NOTHING.values()]
    assert log_variances_T.tolist() == pytest.approx(expected, abs=1e-3)


def test_each_coarser_level_counts_half_as_much_and_the_plain_loss_is_that_of_the_finest() -> None:
    targets = Targets.complete(BREAST_NHW.repeat(1, 2, 1), DENSE_NHW.repeat(1, 2, 1))
    fine = {task: scores.repeat(1, 1, 2, 1) for task, scores in _logits(0.0).items()}
    coarse = {"breast": torch.zeros(1, 3, 1, 2), "dense": torch.zeros(1, 1, 1, 2)}
    # The coarser level sees every second pixel: breast classes 1 and 1, dense 1 and 0. Classes that nothing
    # shows have no overlap: Dice of class 1 is 1 - 2(2/3)/(2/3 + 2), of dense tissue 1 - 2(1/2)/(1 + 1).
    coarse_loss = math.log(3) + 0.5 + math.log(2) + 0.5
    fine_loss = sum(DICE_CE_OF_NOTHING.values())

    loss = MultitaskLoss("dice_ce")({**fine, "coarser": [coarse]}, targets)

    assert math.isclose(loss.objective.item(), (2 * fine_loss + coarse_loss) / 3, rel_tol=1e-4)
    assert math.isclose(loss.plain.item(), fine_loss, rel_tol=1e-4)


def test_a_readers_category_adds_the_loss_of_its_band() -> None:
    logits = _logits(0.0)
    logits["band"] = torch.tensor([math.log(3), 0.0, -math.log(3)]).view(1, 3, 1, 1)  # each band as likely
    segments = sum(DICE_CE_OF_NOTHING.values())

    known = MultitaskLoss("dice_ce")(logits, replace(TARGETS, band_N=torch.tensor([1])))
    unknown = MultitaskLoss("dice_ce")(logits, TARGETS)

    assert math.isclose(known.plain.item(), segments + math.log(4), rel_tol=1e-4)
    assert math.isclose(known.objective.item(), segments + BAND_WEIGHT * math.log(4), rel_tol=1e-4)
    assert math.isclose(unknown.objective.item(), segments, rel_tol=1e-4)


# -- labels that leave something open

NOTHING = Targets(
    possible_NCHW=torch.ones_like(TARGETS.possible_NCHW),
    dense_NHW=torch.zeros_like(DENSE_NHW),
    dense_known_NHW=torch.zeros_like(DENSE_NHW),
    band_N=torch.tensor([UNKNOWN_BAND]),
)


@pytest.mark.parametrize("name", ["dice_ce", "focal_tversky"])
def test_a_batch_of_which_nothing_is_known_costs_and_teaches_nothing(name: str) -> None:
    logits = {task: scores.requires_grad_() for task, scores in _logits(-3.0).items()}
    logits["log_variances_T"] = torch.zeros(2, requires_grad=True)

    loss = MultitaskLoss(name)(logits, NOTHING)
    loss.objective.backward()

    assert loss.objective.item() == pytest.approx(0.0, abs=1e-6)
    assert not any(bool(scores.grad.any()) for scores in logits.values())


@pytest.mark.parametrize("name", ["dice_ce", "focal_tversky"])
@pytest.mark.parametrize("task", ["breast", "dense"])
def test_a_task_that_is_not_labelled_leaves_the_other_ones_loss_and_gradient_as_they_are(
    name: str, task: str
) -> None:
    partial = {
        "breast": replace(NOTHING, possible_NCHW=TARGETS.possible_NCHW),
        "dense": replace(TARGETS, possible_NCHW=NOTHING.possible_NCHW),
    }[task]
    gradients = []
    for targets in (TARGETS, partial):
        logits = {each: scores.requires_grad_() for each, scores in _logits(-3.0).items()}
        MultitaskLoss(name)(logits, targets).objective.backward()
        gradients.append({each: scores.grad for each, scores in logits.items()})

    complete, masked = gradients
    torch.testing.assert_close(masked[task], complete[task])
    (other,) = masked.keys() - {task}
    assert not masked[other].any()


def test_unknown_pixels_change_nothing_whatever_the_network_says_of_them() -> None:
    possible_NCHW, known_NHW = TARGETS.possible_NCHW.clone(), torch.ones_like(DENSE_NHW)
    possible_NCHW[..., 3], known_NHW[..., 3] = True, False
    targets = replace(TARGETS, possible_NCHW=possible_NCHW, dense_known_NHW=known_NHW)
    without = Targets.complete(BREAST_NHW[..., :3], DENSE_NHW[..., :3])
    logits = _logits(-2.0)

    expected = _loss({task: scores[..., :3] for task, scores in logits.items()}, without)

    for said in (-50.0, 0.0, 50.0):
        changed = {task: scores.clone() for task, scores in logits.items()}
        changed["breast"][:, 1, :, 3] = said
        changed["dense"][..., 3] = said
        assert _loss(changed, targets) == pytest.approx(expected, rel=1e-5)


def test_a_pixel_of_breast_or_muscle_costs_what_their_union_does() -> None:
    possible_NCHW = torch.tensor([False, True, True]).view(1, 3, 1, 1)
    targets = replace(NOTHING, possible_NCHW=possible_NCHW)
    scores = torch.tensor([0.5, 0.3, 0.2]).log().view(1, 3, 1, 1).requires_grad_()

    loss = MultitaskLoss("dice_ce")({"breast": scores, "dense": torch.zeros(1, 1, 1, 4)}, targets).objective
    loss.backward()

    # -ln(0.3 + 0.2); that there is no background says nothing about which of the two it is, so both gain in
    # proportion to what they have.
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    assert scores.grad.flatten().tolist() == pytest.approx([0.5, 0.3 - 0.6, 0.2 - 0.4], rel=1e-5)
