"""Images that are no mammogram to measure, drawn by code, and real ones turned into such.

All are float32 H x W with bright tissue bright, as `client.imaging.mammogram.Mammogram` has them. What is
derived from a mammogram takes one whose chest wall is at the left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from client.imaging.breast_mask import find_breast
from client.imaging.resample import resize_labels

Grey = npt.NDArray[np.float32]
Drawing = Callable[[np.random.Generator], Grey]
Change = Callable[[Grey, np.random.Generator], Grey]

HEIGHT_PX, WIDTH_PX = 1200, 900
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz    "))


def _blurred(random: np.random.Generator, sigma_px: float) -> Grey:
    """Smooth noise of unit spread."""
    noise_HW = ndimage.gaussian_filter(random.standard_normal((HEIGHT_PX, WIDTH_PX)), sigma_px)
    return _grey(noise_HW / noise_HW.std())


def _grey(values_HW: npt.NDArray[Any]) -> Grey:
    return values_HW.astype(np.float32)


def _as_image(image: Image.Image) -> Grey:
    return np.asarray(image, np.float32)


def photograph(random: np.random.Generator) -> Grey:
    """A scene: sky, hills, houses and a sun, as a grey picture."""
    rows, columns = np.mgrid[0 : 1 : HEIGHT_PX * 1j, 0 : 1 : WIDTH_PX * 1j]
    scene_HW = 120 + 100 * (1 - rows)
    for distance in range(4):
        height = 0.45 + 0.12 * distance
        phase, waves = random.uniform(0, 6, 2)
        ridge = height + 0.08 * np.sin((3 + waves) * columns + phase)
        hill = rows > ridge
        scene_HW[hill] = 140 - 25 * distance + 12 * _blurred(random, 3)[hill]
    pen = ImageDraw.Draw(image := Image.fromarray(scene_HW.astype(np.float32)))
    for _ in range(6):
        left, top = int(random.integers(0, WIDTH_PX)), int(random.integers(500, 1000))
        wide, high = random.integers(60, 260, 2)
        pen.rectangle((left, top, left + int(wide), top + int(high)), fill=float(random.uniform(30, 240)))
    sun = int(random.integers(50, 700))
    pen.ellipse((sun, 60, sun + 120, 180), fill=255.0)
    return _as_image(image)


def noise(random: np.random.Generator) -> Grey:
    """Blotches of one size."""
    return _grey(100 + 30 * _blurred(random, float(random.uniform(0.1, 40))))


def noisy_half_disc(random: np.random.Generator) -> Grey:
    """The outline of a breast filled with noise."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, 0 : 1 : WIDTH_PX * 1j]
    inside_HW = rows**2 / 0.8 + (columns / random.uniform(0.4, 0.8)) ** 2 < 0.8
    return _grey(np.where(inside_HW, 120 + 25 * _blurred(random, 2), 0))


def text_page(random: np.random.Generator) -> Grey:
    """Lines of writing from edge to edge, light on dark."""
    image = Image.new("F", (WIDTH_PX, HEIGHT_PX), 0)
    pen, size = ImageDraw.Draw(image), int(random.integers(16, 40))
    font = ImageFont.load_default(size)
    for top in range(20, HEIGHT_PX, size + 6):
        pen.text((0, top), "".join(random.choice(LETTERS, 120)), fill=255, font=font)
    return _as_image(image)


def hand(random: np.random.Generator) -> Grey:
    """Palm, fingers with bones, and a wrist that leaves at the left edge."""
    image = Image.new("F", (WIDTH_PX, HEIGHT_PX), 0)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 480, 420, 760), fill=120)
    pen.ellipse((150, 350, 560, 880), fill=130)
    for number in range(5):
        tip = (820 - 60 * abs(number - 2), 260 + 160 * number + int(random.integers(-30, 30)))
        root = (430, 460 + 70 * number)
        pen.line((*root, *tip), fill=115, width=80)
        pen.line((*root, *tip), fill=205, width=28)
    return _grey(ndimage.gaussian_filter(_as_image(image), 4) + random.normal(0, 3, (HEIGHT_PX, WIDTH_PX)))


def chest(random: np.random.Generator) -> Grey:
    """A chest radiograph, or one half of it that ends at the spine."""
    first = 0.0 if random.random() < 0.5 else -1.0
    rows, columns = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, first : 1 : WIDTH_PX * 1j]
    body_HW = (columns / 0.95) ** 2 + (rows / 1.3) ** 2 < 1
    image_HW = np.where(body_HW, 150.0, 5.0) + 60 * np.exp(-((columns / 0.09) ** 2))
    lungs = ((np.abs(columns) - 0.42) / 0.26) ** 4 + ((rows + 0.05) / random.uniform(0.5, 0.7)) ** 4
    image_HW -= 110 * np.exp(-lungs)
    image_HW += 18 * np.cos(22 * (rows - 0.25 * columns**2)) ** 16 * body_HW
    return _grey(image_HW + random.normal(0, 3, image_HW.shape))


def slice_of_ct(random: np.random.Generator) -> Grey:
    """A body in cross-section that leaves the picture at the left."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, 0 : 1 : WIDTH_PX * 1j]
    image_HW = 90.0 * ((columns / 0.9) ** 2 + (rows / 0.8) ** 2 < 1)
    for _ in range(9):
        row, column, size = random.uniform(-0.6, 0.6), random.uniform(0, 0.7), random.uniform(0.04, 0.2)
        organ_HW = (rows - row) ** 2 + (columns - column) ** 2 < size**2
        image_HW[organ_HW & (image_HW > 0)] = random.uniform(20, 220)
    return _grey(ndimage.gaussian_filter(image_HW, 3) + 4 * _blurred(random, 1))


def quality_phantom(random: np.random.Generator) -> Grey:
    """A block of plastic at the chest wall with fibres, specks and masses in it: what checks a detector."""
    image = Image.new("F", (WIDTH_PX, HEIGHT_PX), 0)
    pen, left = ImageDraw.Draw(image), 0
    top, high, wide = int(random.integers(150, 300)), int(random.integers(500, 700)), 600
    pen.rectangle((left, top, left + wide, top + high), fill=140)
    for place in range(16):
        row, column = top + 60 + high // 5 * (place // 4), 90 + 130 * (place % 4)
        size, bright = 36 - 2 * place, 190.0
        if place < 6:
            pen.line((column, row, column + size, row + size), fill=bright, width=5)
        elif place < 11:
            for speck in range(6):
                spot = column + 12 * (speck % 3), row + 12 * (speck // 3)
                pen.ellipse((*spot, spot[0] + 4, spot[1] + 4), fill=bright)
        else:
            pen.ellipse((column, row, column + 2 * size, row + 2 * size), fill=bright - 20)
    return _grey(ndimage.gaussian_filter(_as_image(image), 1.5) + random.normal(0, 2, (HEIGHT_PX, WIDTH_PX)))


DRAWINGS: Mapping[str, Drawing] = {
    "photograph": photograph,
    "noise": noise,
    "noise in a breast's outline": noisy_half_disc,
    "text": text_page,
    "hand": hand,
    "chest": chest,
    "CT slice": slice_of_ct,
    "quality phantom": quality_phantom,
}


def implant(mammogram_HW: Grey, random: np.random.Generator) -> Grey:
    """The same breast with a smooth bright ellipse before its chest wall."""
    top, bottom, right = _extent(mammogram_HW)
    dark, bright = np.percentile(mammogram_HW, (1, 99.5))
    size = random.uniform(0.25, 0.4)
    rows, columns = np.ogrid[: mammogram_HW.shape[0], : mammogram_HW.shape[1]]
    middle = (top + bottom) / 2 + 0.08 * (bottom - top)
    high, wide = 0.75 * size * (bottom - top), 1.1 * size * right
    reach = ((rows - middle) / high) ** 2 + ((columns - 0.95 * wide) / wide) ** 2
    share = 1 / (1 + np.exp(np.clip(12 * (reach - 1), -50, 50)))
    filled = dark + (bright - dark) * (1.05 + 0.03 * random.standard_normal(mammogram_HW.shape))
    return _grey(mammogram_HW * (1 - share) + share * filled)


def spot(mammogram_HW: Grey, random: np.random.Generator) -> Grey:
    """A part of the breast, from within it or through the skin."""
    top, bottom, right = _extent(mammogram_HW)
    height = bottom - top
    first, last = top + height // 4, bottom - height // 4
    if random.random() < 0.5:
        return mammogram_HW[first:last, right // 6 : right - right // 3]
    return mammogram_HW[first:last, right // 3 :]


def quarter_turn(mammogram_HW: Grey, _random: np.random.Generator) -> Grey:
    """The chest wall above."""
    return np.ascontiguousarray(np.rot90(mammogram_HW))


def negative(mammogram_HW: Grey, _random: np.random.Generator) -> Grey:
    """Dense tissue dark."""
    return _grey(mammogram_HW.max() - mammogram_HW)


CHANGES: Mapping[str, Change] = {
    "implant": implant,
    "spot view": spot,
    "quarter turn": quarter_turn,
    "negative": negative,
}


def upside_down(mammogram_HW: Grey) -> Grey:
    """Turned by 180 degrees: measured as well as before."""
    return np.ascontiguousarray(mammogram_HW[::-1, ::-1])


def drawn(kind: str, number: int, seed: int = 0) -> Iterator[Grey]:
    """Some drawings of a kind."""
    for place in range(number):
        yield DRAWINGS[kind](np.random.default_rng([seed, place]))


def _extent(mammogram_HW: Grey) -> tuple[int, int, int]:
    """First and last row, and last column, of the breast."""
    breast_HW = resize_labels(find_breast(mammogram_HW), *mammogram_HW.shape)
    rows, columns = np.flatnonzero(breast_HW.any(axis=1)), np.flatnonzero(breast_HW.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[-1])
