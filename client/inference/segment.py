"""One mammogram in, segments and a density report out: read, prepare, predict, measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from client.imaging.breast_mask import largest_component
from client.imaging.density import measure_density
from client.imaging.example import Label
from client.imaging.mammogram import Spacing
from client.imaging.network_input import frame_of
from client.imaging.overlay import draw_overlay
from client.imaging.preparation import PreparedImage
from client.inference.prediction import likely_bands, predict
from client.inference.reading import ReadImage
from client.inference.report import DensityReport
from shared.band_calibration import BandCalibration
from shared.errors import NotMammogramError
from shared.model import Logits
from shared.model.segmentation import segments_of
from shared.plan import ModelPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """A segmented mammogram.

    Attributes
    ----------
    prepared
        The image as the network saw it.
    labels_HW
        uint8 `Label` per pixel of the prepared image.
    report
        What was measured.
    """

    prepared: PreparedImage
    labels_HW: npt.NDArray[np.uint8]
    report: DensityReport

    def source_labels(self) -> npt.NDArray[np.uint8]:
        """The label map on the file's own pixels: same rows, columns and orientation."""
        return self.prepared.geometry.to_source(self.labels_HW)

    def overlay_png(self) -> bytes:
        """The picture for people."""
        return draw_overlay(self.prepared, self.labels_HW, self.report.headline(), self.report.details())


def segment_image(
    image: ReadImage,
    model: nn.Module,
    plan: ModelPlan,
    *,
    model_id: str,
    has_own_layers: bool = False,
    calibration: BandCalibration | None = None,
) -> Segmentation:
    """Segment an image that has been read.

    Parameters
    ----------
    model
        Takes float32 NCHW in [0, 1] and gives `Logits`; it is used on its own device and in the mode it is
        in, which should be `eval`.
    plan
        That the model was trained under.
    model_id, has_own_layers
        Go into the report.
    calibration
        Of its density bands, from its passport.

    Raises
    ------
    NotMammogramError
        The model finds no breast.
    """
    prepared, spacing = image.prepared, image.prepared_spacing
    labels_HW, logits = _predict(prepared, spacing, model, plan)
    density = measure_density(labels_HW, spacing)
    if density is None:
        raise NotMammogramError(
            "The model finds no breast in the image.",
            "Check that the image is a mammogram, or use another model.",
        )
    return Segmentation(
        prepared=prepared,
        labels_HW=labels_HW,
        report=DensityReport(
            density=density,
            spacing=image.spacing,
            view=image.view,
            laterality=image.laterality,
            model_id=model_id,
            has_own_layers=has_own_layers,
            warnings=image.warnings,
            calibration=calibration,
            likely_band=likely_bands(model, torch.tensor([density.percent_density]), logits)[0],
        ),
    )


def _predict(
    prepared: PreparedImage, spacing: Spacing | None, model: nn.Module, plan: ModelPlan
) -> tuple[npt.NDArray[np.uint8], Logits]:
    """Label map of a prepared image: one breast, its dense tissue, one pectoral muscle; and its logits."""
    parameter = next(model.parameters(), None)
    rows, columns = prepared.image_HW.shape
    frame = frame_of((rows, columns), spacing, plan)
    canvas_NCHW = frame.image(prepared.image_HW)[None]
    with torch.inference_mode():
        logits = predict(model, canvas_NCHW if parameter is None else canvas_NCHW.to(parameter.device), plan)
        segments = segments_of(
            {
                "breast": frame.to_picture(logits["breast"][0])[None],
                "dense": frame.to_picture(logits["dense"][0])[None],
            }
        )
    breast_HW = largest_component(segments.breast_NHW[0].cpu().numpy())
    labels_HW = np.full(breast_HW.shape, Label.BACKGROUND, np.uint8)
    labels_HW[largest_component(segments.pectoral_NHW[0].cpu().numpy())] = Label.PECTORAL
    labels_HW[breast_HW] = Label.ADIPOSE
    labels_HW[segments.dense_NHW[0].cpu().numpy() & breast_HW] = Label.DENSE
    return labels_HW, logits
