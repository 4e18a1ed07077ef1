"""A picture for people: the mammogram beside itself with the segments drawn in, and what was measured.

Only the breast is shown; whatever a film or a file carries outside of it is black.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from client.imaging.breast_mask import Mask
from client.imaging.example import Label
from client.imaging.preparation import FULL_SCALE, PreparedImage
from client.imaging.resample import resize_image, resize_labels

Colour = tuple[int, int, int]

PANEL_HEIGHT_PX = 900
MARGIN_PX = 24
HEADLINE_PX = 34
TEXT_PX = 17
OUTLINE_PX = 2
DENSE_OPACITY = 0.38
BACKGROUND: Colour = (14, 16, 20)
TEXT: Colour = (226, 230, 236)
QUIET: Colour = (150, 158, 170)
BREAST: Colour = (78, 201, 240)
DENSE: Colour = (255, 138, 60)
PECTORAL: Colour = (182, 140, 255)
NOTICE = "Research use, not for diagnosis"


def encode_png(picture: Image.Image) -> bytes:
    """A picture as a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def draw_overlay(
    prepared: PreparedImage, labels_HW: npt.NDArray[np.uint8], headline: str, details: tuple[str, ...]
) -> Image.Image:
    """Draw a prepared image with its label map, in the orientation of its file.

    Parameters
    ----------
    prepared
        The image.
    labels_HW
        uint8 `Label` per pixel of the prepared image.
    headline
        The finding in a few words.
    details
        Lines under the headline.

    Returns
    -------
    Image.Image
        In RGB.
    """
    grey_HW, shown_HW = _panel(prepared, labels_HW)
    plain_HWC = np.repeat(grey_HW[:, :, None], 3, axis=2)
    drawn_HWC = _draw_segments(plain_HWC, shown_HW)
    headline_font, text_font = ImageFont.load_default(HEADLINE_PX), ImageFont.load_default(TEXT_PX)
    lines = [*details, NOTICE]
    text_width = max(
        headline_font.getlength(headline),
        *(text_font.getlength(line) for line in lines),
        _legend_width(text_font),
    )
    height, width = grey_HW.shape
    head = MARGIN_PX + HEADLINE_PX + 12 + len(details) * (TEXT_PX + 8) + 12
    foot = MARGIN_PX + 2 * (TEXT_PX + 8) + 8
    canvas_width = max(2 * width + 3 * MARGIN_PX, int(text_width) + 2 * MARGIN_PX)
    canvas = Image.new("RGB", (canvas_width, head + height + foot), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN_PX, MARGIN_PX), headline, TEXT, headline_font)
    for number, line in enumerate(details):
        top = MARGIN_PX + HEADLINE_PX + 12 + number * (TEXT_PX + 8)
        pen.text((MARGIN_PX, top), line, QUIET, text_font)
    left = (canvas_width - 2 * width - MARGIN_PX) // 2
    canvas.paste(Image.fromarray(plain_HWC), (left, head))
    canvas.paste(Image.fromarray(drawn_HWC), (left + width + MARGIN_PX, head))
    _draw_legend(pen, (MARGIN_PX, head + height + 16), text_font)
    pen.text((MARGIN_PX, head + height + 16 + TEXT_PX + 8), NOTICE, TEXT, text_font)
    return canvas


def _panel(
    prepared: PreparedImage, labels_HW: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Grey values and labels at the panel's size, turned as in the file."""
    height, width = prepared.image_HW.shape
    panel_width = max(1, round(width * PANEL_HEIGHT_PX / height))
    image_HW = resize_image(prepared.image_HW.astype(np.float32), PANEL_HEIGHT_PX, panel_width)
    grey_HW = np.rint(image_HW.clip(0, FULL_SCALE) * (255 / FULL_SCALE)).astype(np.uint8)
    shown_HW = resize_labels(labels_HW, PANEL_HEIGHT_PX, panel_width)
    if prepared.geometry.mirrored:
        grey_HW, shown_HW = grey_HW[:, ::-1], shown_HW[:, ::-1]
    return grey_HW, shown_HW


def _draw_segments(
    plain_HWC: npt.NDArray[np.uint8], labels_HW: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    drawn_HWC = plain_HWC.astype(np.float32)
    dense_HW = labels_HW == Label.DENSE
    drawn_HWC[dense_HW] = (1 - DENSE_OPACITY) * drawn_HWC[dense_HW] + DENSE_OPACITY * np.array(DENSE)
    drawn_HWC[_outline(dense_HW, 1)] = DENSE
    drawn_HWC[_outline(labels_HW == Label.PECTORAL, OUTLINE_PX)] = PECTORAL
    drawn_HWC[_outline(dense_HW | (labels_HW == Label.ADIPOSE), OUTLINE_PX)] = BREAST
    return np.rint(drawn_HWC).astype(np.uint8)


def _outline(mask_HW: Mask, thickness_px: int) -> Mask:
    """The inner rim of a mask, closed along the picture's edge."""
    outline: Mask = mask_HW & ~ndimage.binary_erosion(mask_HW, iterations=thickness_px)
    return outline


def _legend() -> tuple[tuple[str, Colour], ...]:
    return (("breast", BREAST), ("dense tissue", DENSE), ("pectoral muscle", PECTORAL))


def _legend_width(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> float:
    return sum(TEXT_PX + 8 + font.getlength(name) + MARGIN_PX for name, _ in _legend())


def _draw_legend(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    left, top = corner
    for name, colour in _legend():
        pen.rectangle((left, top + 3, left + TEXT_PX - 3, top + TEXT_PX), colour)
        pen.text((left + TEXT_PX + 6, top), name, TEXT, font)
        left += round(TEXT_PX + 8 + font.getlength(name) + MARGIN_PX)
