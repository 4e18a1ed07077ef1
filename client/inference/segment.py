"""One mammogram in, segments and a density report out: read, prepare, predict, measure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from client.imaging.breast_mask import largest_component
from client.imaging.density import measure_density
from client.imaging.example import Label
from client.imaging.mammogram import Spacing
from client.imaging.network_input import frame_of
from client.imaging.overlay import draw_overlay
from client.imaging.preparation import PreparedImage
from client.inference.familiarity import insist_on_familiar
from client.inference.prediction import likely_bands, predict, predict_flipped_too
from client.inference.reading import ReadImage
from client.inference.report import DensityReport
from shared.band_calibration import BandCalibration
from shared.errors import NotMammogramError
from shared.model import Logits
from shared.model.segmentation import segments_of
from shared.plan import ModelPlan
from shared.reference import Reference


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

    def overlay(self) -> Image.Image:
        """The picture for people, in RGB."""
        return draw_overlay(self.prepared, self.labels_HW, self.report.headline(), self.report.details())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model with all that its use needs.

    Attributes
    ----------
    network
        Takes float32 NCHW in [0, 1] and gives `Logits`; it is used on its own device and in the mode it is
        in, which should be `eval`.
    plan
        That it was trained under.
    model_id, has_own_layers
        Go into the report.
    reference
        What each image is judged by.
    calibration
        Of its density bands, from its passport.
    flips
        See each image upside down as well; for a network that was trained so.
    """

    network: nn.Module
    plan: ModelPlan
    model_id: str
    reference: Reference
    has_own_layers: bool = False
    calibration: BandCalibration | None = None
    flips: bool = False


def segment_image(image: ReadImage, model: LoadedModel) -> Segmentation:
    """Segment an image that has been read.

    Raises
    ------
    UnfamiliarError
        The image is unlike those that the model was trained on, or no whole breast at its chest wall.
    NotMammogramError
        The model finds no breast.
    """
    prepared, spacing = image.prepared, image.prepared_spacing
    insist_on_familiar(prepared, model.reference.appearance)
    labels_HW, uncertainty, logits = _predict(prepared, spacing, model)
    density = measure_density(labels_HW, spacing)
    if density is None:
        raise NotMammogramError(
            "The model finds no breast in the image.",
            "Check that the image is a mammogram, or use another model.",
        )
    limits = model.reference.density_limits
    return Segmentation(
        prepared=prepared,
        labels_HW=labels_HW,
        report=DensityReport(
            density=density,
            interval_percent=None if limits is None else limits.around(density.percent_density),
            uncertainty=uncertainty,
            spacing=image.spacing,
            view=image.view,
            laterality=image.laterality,
            model_id=model.model_id,
            has_own_layers=model.has_own_layers,
            warnings=image.warnings,
            calibration=model.calibration,
            likely_band=likely_bands(model.network, torch.tensor([density.percent_density]), logits)[0],
        ),
    )


def _predict(
    prepared: PreparedImage, spacing: Spacing | None, model: LoadedModel
) -> tuple[npt.NDArray[np.uint8], float, Logits]:
    """Label map of one breast, its dense tissue and one pectoral muscle; uncertainty; logits."""
    parameter = next(model.network.parameters(), None)
    rows, columns = prepared.image_HW.shape
    frame = frame_of((rows, columns), spacing, model.plan)
    canvas_NCHW = frame.image(prepared.image_HW)[None]
    if parameter is not None:
        canvas_NCHW = canvas_NCHW.to(parameter.device)
    with torch.inference_mode():
        see = predict_flipped_too if model.flips else predict
        logits = see(model.network, canvas_NCHW, model.plan)
        dense_CHW = frame.to_picture(logits["dense"][0])
        segments = segments_of(
            {"breast": frame.to_picture(logits["breast"][0])[None], "dense": dense_CHW[None]}
        )
    breast_HW = largest_component(segments.breast_NHW[0].cpu().numpy())
    labels_HW = np.full(breast_HW.shape, Label.BACKGROUND, np.uint8)
    labels_HW[largest_component(segments.pectoral_NHW[0].cpu().numpy())] = Label.PECTORAL
    labels_HW[breast_HW] = Label.ADIPOSE
    labels_HW[segments.dense_NHW[0].cpu().numpy() & breast_HW] = Label.DENSE
    return labels_HW, _entropy_bits(dense_CHW[0].cpu().numpy()[breast_HW]), logits


def _entropy_bits(logits: npt.NDArray[np.float32]) -> float:
    """Mean entropy of a choice between two with these logits; 0 of none."""
    if not len(logits):
        return 0.0
    distance = np.abs(logits.astype(np.float64))
    odds = np.exp(-distance)
    # -p log p - q log q with q = 1 - p the less likely of both, where log p = log q + distance.
    return float(np.mean(np.log1p(odds) + odds / (1 + odds) * distance) / np.log(2))
