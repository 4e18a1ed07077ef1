"""What strategies add to a site's gradients, on numbers worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

from client.training.corrections import ControlVariates, Proximal


class Scalar(nn.Module):
    """One weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([value]))


def with_gradient(model: Scalar, gradient: float) -> Scalar:
    model.w.grad = torch.tensor([gradient])
    return model


def test_the_proximal_term_pulls_back_in_proportion_to_the_way_gone() -> None:
    model = Scalar(1.0)
    correct = Proximal(model, mu=0.5)

    correct(with_gradient(model, 3.0))
    assert model.w.grad.tolist() == [3.0]

    model.w.data.fill_(5.0)
    correct(with_gradient(model, 3.0))
    assert model.w.grad.tolist() == [3.0 + 0.5 * (5.0 - 1.0)]


def test_control_variates_turn_the_sites_gradient_to_the_federations() -> None:
    model = Scalar(1.0)
    correct = ControlVariates({"w": torch.tensor([2.0])}, {"w": torch.tensor([5.0])})

    correct(with_gradient(model, 4.0))
    assert model.w.grad.tolist() == [4.0 + 2.0 - 5.0]
    correct(with_gradient(model, 8.0))

    assert correct.new_own()["w"].tolist() == [6.0]
    assert correct.change_of_own()["w"].tolist() == [1.0]


def test_with_plain_gradient_descent_the_new_variate_is_that_of_the_papers_option_two() -> None:
    start, rate, common, own = 1.0, 0.1, 2.0, 5.0
    model = Scalar(start)
    correct = ControlVariates({"w": torch.tensor([common])}, {"w": torch.tensor([own])})
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    for target in (0.0, 3.0, -1.0):
        optimizer.zero_grad()
        ((model.w - target) ** 2).sum().backward()
        correct(model)
        optimizer.step()

    option_two = own - common + (start - model.w.item()) / (3 * rate)
    torch.testing.assert_close(correct.new_own()["w"], torch.tensor([option_two]))
