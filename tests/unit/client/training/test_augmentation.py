from dataclasses import replace

import torch

from client.training import augmentation
from client.training.augmentation import augment
from client.training.dataset import Batch


def _batch(num_images: int = 4) -> Batch:
    """Half-discs of breast at the left edge with a bright band, and zeros outside."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(0, 1, 64), indexing="ij")
    breast_HW = rows**2 + columns**2 < 0.7
    dense_HW = breast_HW & (columns > 0.3) & (columns < 0.5)
    labels_HW = breast_HW.to(torch.uint8) + dense_HW.to(torch.uint8)
    image_HW = torch.where(breast_HW, 0.3 + 0.4 * dense_HW, torch.zeros(()))
    return Batch(
        image_NCHW=image_HW.expand(num_images, 1, -1, -1).clone(),
        labels_NHW=labels_HW.expand(num_images, -1, -1).clone(),
        band_N=torch.arange(num_images),
    )


def _augmented(seed: int) -> Batch:
    return augment(_batch(), torch.Generator().manual_seed(seed))


def _halves(batch: Batch) -> Batch:
    """The upper half of the image is dark and has labels of its own."""
    batch.image_NCHW[:, :, :48] *= 0.25
    batch.labels_NHW[:, :48] *= 2
    return batch


def _is_lower_above(values_NHW: torch.Tensor, labels_NHW: torch.Tensor) -> torch.Tensor:
    """Whether values of tissue are smaller in the upper third than in the lower one, for each image."""
    inside_NHW = labels_NHW > 0
    above, below = (
        (values_NHW * inside_NHW)[:, rows].sum((1, 2)) / inside_NHW[:, rows].sum((1, 2))
        for rows in (slice(32), slice(64, None))
    )
    return above < below


def test_with_flips_half_of_the_images_are_upside_down_and_their_labels_with_them():
    changed = augment(_halves(_batch(64)), torch.Generator().manual_seed(4), flip=True)

    dark_above_N = _is_lower_above(changed.image_NCHW[:, 0], changed.labels_NHW)
    assert 20 <= int(dark_above_N.sum()) <= 44
    assert torch.equal(dark_above_N, ~_is_lower_above(changed.labels_NHW, changed.labels_NHW))


def test_without_flips_none_is():
    changed = augment(_halves(_batch(32)), torch.Generator().manual_seed(4))

    assert _is_lower_above(changed.image_NCHW[:, 0], changed.labels_NHW).all()


def test_the_same_seed_makes_the_same_changes():
    first, again, other = _augmented(1), _augmented(1), _augmented(2)

    assert torch.equal(first.image_NCHW, again.image_NCHW)
    assert torch.equal(first.labels_NHW, again.labels_NHW)
    assert not torch.equal(first.image_NCHW, other.image_NCHW)


def test_each_image_of_a_batch_is_changed_in_its_own_way():
    image_NCHW = _augmented(3).image_NCHW

    assert all(not torch.equal(image_NCHW[0], image_NCHW[place]) for place in range(1, 4))


def test_the_original_batch_stays_as_it_was():
    batch, untouched = _batch(), _batch()

    augment(batch, torch.Generator().manual_seed(0))

    assert torch.equal(batch.image_NCHW, untouched.image_NCHW)
    assert torch.equal(batch.labels_NHW, untouched.labels_NHW)


def test_values_stay_in_range_and_labels_stay_labels():
    for seed in range(10):
        changed = _augmented(seed)

        assert 0.0 <= changed.image_NCHW.min().item() <= changed.image_NCHW.max().item() <= 1.0
        assert set(changed.labels_NHW.unique().tolist()) <= {0, 1, 2}
        assert changed.labels_NHW.dtype == torch.uint8
        assert changed.image_NCHW.dtype == torch.float32


def test_the_background_stays_black():
    for seed in range(10):
        changed = _augmented(seed)
        far_from_breast_N1HW = (
            torch.nn.functional.max_pool2d((changed.labels_NHW[:, None] > 0).float(), 5, 1, 2) == 0
        )

        assert changed.image_NCHW[far_from_breast_N1HW].abs().max().item() == 0.0


def test_labels_move_with_the_image():
    for seed in range(10):
        changed = _augmented(seed)
        inside = changed.image_NCHW[:, 0] > 0
        breast = changed.labels_NHW > 0

        overlap = 2 * (inside & breast).sum().item() / (inside.sum() + breast.sum()).item()
        assert overlap > 0.95


def test_a_batch_keeps_its_breast_at_the_chest_wall():
    for seed in range(10):
        changed = _augmented(seed)

        assert (changed.labels_NHW[:, :, 0] > 0).float().mean().item() > 0.4


def test_tissue_is_displaced_smoothly_and_not_only_turned_and_shifted():
    """No rotation, scale and shift makes of a grid's straight lines bent ones."""
    along_HW = torch.linspace(0.2, 0.8, 64).expand(96, -1)
    batch = replace(_batch(1), image_NCHW=along_HW.expand(1, 1, -1, -1).clone())

    moved_HW = augmentation._move(batch, torch.Generator().manual_seed(0), flip=False).image_NCHW[
        0, 0, 20:-20, 20:-20
    ]

    down_HW, across_HW = moved_HW.diff(n=2, dim=0)[:, 1:-1], moved_HW.diff(n=2, dim=1)[1:-1]
    slope = moved_HW.diff(dim=1).mean()
    assert down_HW.abs().max() > 1e-3 * slope
    assert max(down_HW.abs().max(), across_HW.abs().max()) < 0.2 * slope
