"""A model in forms that other programs run: torch.export, ONNX, and a MONAI bundle with TorchScript.

Each takes one float32 image of the network's input, N x 1 x H x W in [0, 1], and gives the logits `breast`
(background, breast, pectoral) and `dense`. Preparing an image for it and measuring what comes out is this
software's; density bands are not in it. Each form is run here on the same images as the network it was made
of and is kept only if it gives the same masks; by how much they differ is written beside it.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from server.home import ExportForm
from shared.errors import AggregationError, ConfigError
from shared.model import Network
from shared.model.segmentation import segments_of

FILES: Mapping[ExportForm, str] = {
    "torch": "torch_export.pt",
    "onnx": "model.onnx",
    "monai": "monai_bundle.zip",
}
SUMMARY = "exports.json"
NUM_IMAGES = 3
MAX_LOGIT_DIFFERENCE = 1e-3
"""Of the order of what another order of additions makes; sums of float32 are not the same everywhere."""
MAX_SHARE_DIFFERENT = 1e-4
"""Of an image's pixels; where a logit is nearly zero, the least difference decides."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of files in the bundle: the same model makes the same bytes."""

Run = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How an export differs from the network on the same images.

    Attributes
    ----------
    max_logit
        Largest difference of any logit.
    num_pixels_different
        In any of the masks of breast, pectoral muscle and dense tissue.
    num_pixels
        In all images.
    """

    max_logit: float
    num_pixels_different: int
    num_pixels: int


class _BothTasks(nn.Module):
    """A network with a tuple in place of a dict: what every form can say."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(image_NCHW)
        return logits["breast"], logits["dense"]


def export(network: Network, forms: tuple[ExportForm, ...], *, rows: int, columns: int) -> dict[str, bytes]:
    """The forms of a network, by the names of their files, and what they differ by; nothing if none is asked.

    Parameters
    ----------
    rows, columns
        Of the network's input.

    Raises
    ------
    AggregationError
        A form does not give the network's masks.
    ConfigError
        A package that a form needs is not installed.
    """
    if not forms:
        return {}
    both = _BothTasks(network.eval())
    images_NCHW = _images(rows, columns)
    files: dict[str, bytes] = {}
    differences: dict[str, Difference] = {}
    # The exporters warn of what they leave out, which is of other networks.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        for form in forms:
            content, run = MAKERS[form](both, images_NCHW[:1])
            difference = _compare(both, run, images_NCHW)
            _require_same(form, difference)
            files[FILES[form]] = content
            differences[FILES[form]] = difference
    told = {name: asdict(difference) for name, difference in differences.items()}
    files[SUMMARY] = json.dumps(
        {"compared_with": f"torch {version('torch')}", "files": told}, indent=2
    ).encode()
    return files


def _images(rows: int, columns: int) -> Tensor:
    """Smooth and noisy pictures, the same every time."""
    generator = torch.Generator().manual_seed(0)
    coarse_N1HW = torch.rand(NUM_IMAGES, 1, 8, 8, generator=generator)
    smooth_N1HW = nn.functional.interpolate(coarse_N1HW, size=(rows, columns), mode="bilinear")
    noise_N1HW = torch.rand(NUM_IMAGES, 1, rows, columns, generator=generator)
    return (0.8 * smooth_N1HW + 0.2 * noise_N1HW).clamp(0, 1)


def _torch_export(both: _BothTasks, image_1CHW: Tensor) -> tuple[bytes, Run]:
    program = torch.export.export(both, (image_1CHW,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return buffer.getvalue(), torch.export.load(buffer).module()


def _onnx(both: _BothTasks, image_1CHW: Tensor) -> tuple[bytes, Run]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ConfigError(
            "ONNX is not installed.", "Install mammofed with the extra 'exports', or take it off 'exports'."
        ) from error
    program = torch.onnx.export(
        both,
        (image_1CHW,),
        input_names=["image"],
        output_names=["breast", "dense"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(one_1CHW: Tensor) -> tuple[Tensor, Tensor]:
        breast, dense = session.run(None, {"image": one_1CHW.numpy()})
        return torch.from_numpy(breast), torch.from_numpy(dense)

    return content, run


def _monai(both: _BothTasks, image_1CHW: Tensor) -> tuple[bytes, Run]:
    script = io.BytesIO()
    traced = torch.jit.trace(both, image_1CHW, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, script)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in _bundle_files(script.getvalue(), image_1CHW).items():
            bundle.writestr(zipfile.ZipInfo(name, EPOCH), content)
    with tempfile.NamedTemporaryFile(suffix=".ts") as file:
        Path(file.name).write_bytes(script.getvalue())
        loaded: Run = torch.jit.load(file.name)  # type: ignore[no-untyped-call]
    return buffer.getvalue(), loaded


def _bundle_files(script: bytes, image_1CHW: Tensor) -> dict[str, bytes]:
    """What a MONAI bundle holds (MONAI's bundle specification)."""
    rows, columns = image_1CHW.shape[2:]
    picture = {"type": "image", "format": "magnitude", "modality": "MG", "dtype": "float32"}
    metadata = {
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported at publication"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {},
        "task": "Segmentation of breast, pectoral muscle and dense tissue on mammograms",
        "description": "Research use only. Not a diagnostic device.",
        "authors": "mammofed",
        "copyright": "See the model card",
        "network_data_format": {
            "inputs": {
                "image": {
                    **picture,
                    "num_channels": 1,
                    "spatial_shape": [rows, columns],
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "breast": {
                    "type": "logits",
                    "num_channels": 3,
                    "spatial_shape": [rows, columns],
                    "channel_def": {"0": "background", "1": "breast", "2": "pectoral muscle"},
                },
                "dense": {
                    "type": "logits",
                    "num_channels": 1,
                    "spatial_shape": [rows, columns],
                    "channel_def": {"0": "dense tissue"},
                },
            },
        },
    }
    inference = {
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "imports": ["$import torch"],
    }
    return {
        "configs/metadata.json": json.dumps(metadata, indent=2).encode(),
        "configs/inference.json": json.dumps(inference, indent=2).encode(),
        "docs/README.md": b"Research use only. Not a diagnostic device. See the model card of the package.\n",
        "models/model.ts": script,
    }


MAKERS: Mapping[ExportForm, Callable[[_BothTasks, Tensor], tuple[bytes, Run]]] = {
    "torch": _torch_export,
    "onnx": _onnx,
    "monai": _monai,
}


def _compare(network: Run, exported: Run, images_NCHW: Tensor) -> Difference:
    max_logit, num_different, num_pixels = 0.0, 0, 0
    for image_CHW in images_NCHW:
        wanted, given = network(image_CHW[None]), exported(image_CHW[None])
        max_logit = max(max_logit, *((a - b).abs().max().item() for a, b in zip(wanted, given, strict=True)))
        first, second = (segments_of({"breast": breast, "dense": dense}) for breast, dense in (wanted, given))
        different_NHW = (
            (first.breast_NHW != second.breast_NHW)
            | (first.pectoral_NHW != second.pectoral_NHW)
            | (first.dense_NHW != second.dense_NHW)
        )
        num_different += int(different_NHW.sum())
        num_pixels += different_NHW.numel()
    return Difference(max_logit=max_logit, num_pixels_different=num_different, num_pixels=num_pixels)


def _require_same(form: ExportForm, difference: Difference) -> None:
    share = difference.num_pixels_different / difference.num_pixels
    # Written so that NaN is no match.
    if not (difference.max_logit <= MAX_LOGIT_DIFFERENCE and share <= MAX_SHARE_DIFFERENT):
        raise AggregationError(
            f"The export '{form}' does not give the model's masks: a logit differs by "
            f"{difference.max_logit:.2g}.",
            "Leave the form out of 'exports', and report this with the version of torch.",
        )
