"""Gradient inversion: from what a site sent, pictures are looked for that would have made it send the same.

After Geiping et al., Inverting gradients - how easy is it to break privacy in federated learning?, NeurIPS
2020: the cosine distance between what was seen and what a guessed picture would cause, with the total
variation of the picture beside it, descended from a guess by Adam. Three things are the auditor's: the
distance is the mean over tensors, each with its own length, so that no tensor drowns the others; the
attacker knows the label maps, which say where each tissue lies and that all else is black; and he leaves the
guess that follows from them only as far as what was seen demands. Label maps are more than a coordinator
knows: pictures here are an upper end.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW_PX = 7
SSIM_SIGMA_PX = 1.5
TINY = 1e-12

Simulate = Callable[[Tensor], Sequence[Tensor]]
"""What N guessed pictures, float32 N1HW in [0, 1], would have caused to be seen, differentiably."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How hard the attacker tries.

    Attributes
    ----------
    num_steps
        Of Adam, with a rate that falls to zero along half a cosine.
    learning_rate
        In grey values, of which black is 0 and white 1.
    total_variation
        Weight of the pictures' mean absolute step from pixel to pixel beside the cosine distance.
    distance
        Weight of the pictures' mean squared distance from the guess: what nothing speaks for is not drawn.
    smoothness_px
        The change of the guess is blurred so far: breasts have more of coarse structure than of fine.
    """

    num_steps: int = 120
    learning_rate: float = 0.06
    total_variation: float = 0.03
    distance: float = 0.1
    smoothness_px: float = 1.2


def invert(
    seen: Sequence[Tensor], simulate: Simulate, guess_N1HW: Tensor, inside_N1HW: Tensor, *, descent: Descent
) -> Tensor:
    """The pictures, float32 N1HW in [0, 1], that the descent ends at.

    Parameters
    ----------
    seen
        Tensors that the coordinator holds.
    guess_N1HW
        Where the descent begins.
    inside_N1HW
        1 where a picture may be other than black.
    """
    change_N1HW = torch.zeros_like(guess_N1HW, requires_grad=True)
    optimizer = torch.optim.Adam([change_N1HW], lr=descent.learning_rate)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, descent.num_steps)

    def current() -> Tensor:
        smooth_N1HW = gaussian_blur(change_N1HW, descent.smoothness_px)
        return (guess_N1HW + smooth_N1HW).clamp(0, 1) * inside_N1HW

    for _ in range(descent.num_steps):
        optimizer.zero_grad()
        guessed_N1HW = current()
        cost = cosine_distance(simulate(guessed_N1HW), seen)
        cost = cost + descent.total_variation * total_variation(guessed_N1HW, inside_N1HW)
        cost = cost + descent.distance * (guessed_N1HW - guess_N1HW).square().mean()
        torch.autograd.backward(cost, inputs=[change_N1HW])
        optimizer.step()
        rate.step()
    return current().detach()


def gaussian_blur(picture_N1HW: Tensor, sigma_px: float) -> Tensor:
    """The pictures with every pixel spread by a normal distribution."""
    reach = math.ceil(3 * sigma_px)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_px) ** 2)
    line = line / line.sum()
    down_N1HW = functional.conv2d(picture_N1HW, line[None, None, :, None], padding=(reach, 0))
    return functional.conv2d(down_N1HW, line[None, None, None, :], padding=(0, reach))


def cosine_distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """1 less the cosine, the mean over tensors; 0 where all point the same way, 1 where nothing agrees."""
    cosines = [
        (one * other).sum() / (one.norm() * other.norm() + TINY)
        for one, other in zip(some, others, strict=True)
    ]
    return 1 - torch.stack(cosines).mean()


def total_variation(picture_N1HW: Tensor, inside_N1HW: Tensor) -> Tensor:
    """The mean absolute step between neighbours that both lie inside."""
    down = (picture_N1HW[..., 1:, :] - picture_N1HW[..., :-1, :]).abs()
    across = (picture_N1HW[..., 1:] - picture_N1HW[..., :-1]).abs()
    down_inside = inside_N1HW[..., 1:, :] * inside_N1HW[..., :-1, :]
    across_inside = inside_N1HW[..., 1:] * inside_N1HW[..., :-1]
    return (down * down_inside).mean() + (across * across_inside).mean()


def smooth_sign(gradients: Sequence[Tensor], *, softness: float = 0.1) -> list[Tensor]:
    """What the first step of Adam makes of a gradient, its sign, rounded off so that it can be descended.

    Parameters
    ----------
    softness
        Share of a tensor's root mean square below which a value counts as near to zero.
    """
    steps = []
    for gradient in gradients:
        near_zero = softness**2 * gradient.detach().square().mean()
        steps.append(gradient / torch.sqrt(gradient.square() + near_zero + TINY))
    return steps


def tissue_guess(labels_NHW: Tensor, known_N1HW: Tensor, known_labels_NHW: Tensor) -> Tensor:
    """What anybody would draw who has the label maps and other women's pictures: each tissue's mean grey."""
    guess_N1HW = torch.zeros_like(labels_NHW, dtype=torch.float32)[:, None]
    for label in torch.unique(labels_NHW).tolist():
        there = known_labels_NHW[:, None] == label
        grey = known_N1HW[there].mean() if bool(there.any()) else known_N1HW.mean()
        guess_N1HW[labels_NHW[:, None] == label] = grey
    return guess_N1HW


def similarity(picture_N1HW: Tensor, original_N1HW: Tensor, inside_N1HW: Tensor) -> list[float]:
    """SSIM (Wang et al., IEEE Trans Image Process 13:600, 2004) of each image, in the breast.

    1 is the same picture. Windows that are centred outside the breast do not count: black is easily guessed.
    """
    ssim_N1HW, _ = compute_ssim_and_cs(
        picture_N1HW,
        original_N1HW,
        spatial_dims=2,
        kernel_size=(SSIM_WINDOW_PX, SSIM_WINDOW_PX),
        kernel_sigma=(SSIM_SIGMA_PX, SSIM_SIGMA_PX),
    )
    rim = SSIM_WINDOW_PX // 2
    counted_N1HW = inside_N1HW[..., rim:-rim, rim:-rim]
    means_N = (ssim_N1HW * counted_N1HW).sum(dim=(1, 2, 3)) / counted_N1HW.sum(dim=(1, 2, 3))
    return [float(mean) for mean in means_N]
