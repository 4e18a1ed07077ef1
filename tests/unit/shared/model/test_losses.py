import math

import torch

from shared.model.losses import MultitaskLoss, Targets

BREAST_NHW = torch.tensor([[[0, 1, 2, 1]]])
DENSE_NHW = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
TARGETS = Targets(breast_NHW=BREAST_NHW, dense_NHW=DENSE_NHW)


def _logits(confidence: float):
    breast = torch.nn.functional.one_hot(BREAST_NHW, 3).permute(0, 3, 1, 2).float()
    return {"breast": breast * confidence, "dense": (DENSE_NHW[:, None] * 2 - 1) * confidence}


def test_the_loss_of_a_certain_and_right_answer_is_nearly_zero():
    assert MultitaskLoss()(_logits(40.0), TARGETS).item() < 1e-4


def test_the_loss_of_knowing_nothing_is_the_sum_worked_out_by_hand():
    # breast: each class has probability 1/3. Cross entropy ln 3. Soft Dice of a class with k of 4 pixels is
    # 1 - 2(k/3)/(4/3 + k): for k = 1, 2, 1 that is 5/7, 3/5, 5/7.
    # dense: probability 1/2, k = 1. Cross entropy ln 2. Dice 1 - 2(1/2)/(2 + 1) = 2/3.
    expected = math.log(3) + (5 / 7 + 3 / 5 + 5 / 7) / 3 + math.log(2) + 2 / 3

    assert math.isclose(MultitaskLoss()(_logits(0.0), TARGETS).item(), expected, rel_tol=1e-4)


def test_a_wrong_answer_costs_more_the_surer_it_is():
    loss = MultitaskLoss()

    unsure, sure = loss(_logits(-1.0), TARGETS).item(), loss(_logits(-5.0), TARGETS).item()

    assert sure > unsure > loss(_logits(0.0), TARGETS).item()
