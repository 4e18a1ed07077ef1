"""Other forms of a model give its masks, or are not published."""

from __future__ import annotations

import io
import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from server.exports import FILES, MAKERS, SUMMARY, export
from server.home import ExportForm
from shared.errors import AggregationError
from shared.model import Network, initial_model
from shared.package import MANIFEST, Manifest
from shared.plan import Plan
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation, small_plan

ROWS, COLUMNS = 128, 64
PLAN = Plan.from_toml(
    f'name = "test"\nrounds = {{count = 1}}\n'
    f'model = {{size = "tiny", input_height_px = {ROWS}, input_width_px = {COLUMNS}}}'
)
needs_onnx = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnxscript") is None,
    reason="the extra 'exports' (ONNX) is not installed",
)


@pytest.fixture(scope="module")
def network() -> Network:
    return initial_model(PLAN)


def made(network: Network, *forms: ExportForm) -> dict[str, bytes]:
    return export(network, forms, rows=ROWS, columns=COLUMNS)


def difference_of(files: dict[str, bytes], form: ExportForm) -> dict[str, float]:
    told: dict[str, float] = json.loads(files[SUMMARY])["files"][FILES[form]]
    return told


def test_a_torch_export_is_loaded_again_and_gives_the_same_logits(network: Network) -> None:
    files = made(network, "torch")

    image = torch.rand(1, 1, ROWS, COLUMNS)
    breast, dense = torch.export.load(io.BytesIO(files[FILES["torch"]])).module()(image)
    wanted = network.eval()(image)
    assert torch.allclose(breast, wanted["breast"], atol=1e-4)
    assert torch.allclose(dense, wanted["dense"], atol=1e-4)
    assert difference_of(files, "torch")["num_pixels"] == 3 * ROWS * COLUMNS


@needs_onnx
def test_onnx_gives_the_same_masks_and_says_by_how_much_its_logits_differ(network: Network) -> None:
    import onnxruntime

    files = made(network, "onnx")

    session = onnxruntime.InferenceSession(files[FILES["onnx"]], providers=["CPUExecutionProvider"])
    image = torch.rand(1, 1, ROWS, COLUMNS)
    breast, dense = session.run(None, {"image": image.numpy()})
    wanted = network.eval()(image)
    assert torch.allclose(torch.from_numpy(breast), wanted["breast"], atol=1e-3)
    assert torch.allclose(torch.from_numpy(dense), wanted["dense"], atol=1e-3)
    told = difference_of(files, "onnx")
    assert 0 <= told["max_logit"] <= 1e-3
    assert told["num_pixels_different"] <= 1


def test_a_monai_bundle_is_read_by_monai_and_gives_the_same_logits(network: Network, tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    files = made(network, "monai")

    with zipfile.ZipFile(io.BytesIO(files[FILES["monai"]])) as bundle:
        bundle.extractall(tmp_path)
    parser = ConfigParser()
    parser.read_config(tmp_path / "configs" / "inference.json")
    parser.read_meta(tmp_path / "configs" / "metadata.json")
    parser["bundle_root"] = str(tmp_path)
    image = torch.rand(1, 1, ROWS, COLUMNS)
    breast, _ = parser.get_parsed_content("network_def")(image)
    assert torch.allclose(breast, network.eval()(image)["breast"], atol=1e-4)
    inputs = parser.get("_meta_")["network_data_format"]["inputs"]["image"]
    assert inputs["spatial_shape"] == [ROWS, COLUMNS]


def test_a_form_that_gives_other_masks_is_refused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(both: torch.nn.Module, _image: Tensor):
        def run(image: Tensor) -> tuple[Tensor, Tensor]:
            breast, dense = both(image)
            return breast, dense + 0.5

        return b"", run

    monkeypatch.setitem(MAKERS, "torch", wrong)

    with pytest.raises(AggregationError, match=r"differs by 0\.5"):
        made(network, "torch")


def test_a_published_model_brings_the_forms_that_the_settings_name_under_its_signature(
    tmp_path: Path,
) -> None:
    federation = SimulatedFederation(tmp_path, small_plan(1), exports=("torch",))
    federation.run()

    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    files = {file.name: file.blob for file in federation.coordinator.models.files(model.model_id)}
    manifest = Manifest.model_validate_json(
        federation.coordinator.blobs.path(files[MANIFEST].digest).read_bytes()
    )
    signed = {file.name: file.sha256 for file in manifest.files}
    assert {FILES["torch"], SUMMARY} <= files.keys()
    assert signed[FILES["torch"]] == files[FILES["torch"]].digest


def test_a_form_that_cannot_be_made_does_not_cost_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object):
        raise AggregationError("it does not give the model's masks", "report it")

    monkeypatch.setitem(MAKERS, "torch", broken)
    federation = SimulatedFederation(tmp_path, small_plan(1), exports=("torch",))

    federation.run()

    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    assert SUMMARY not in {file.name for file in federation.coordinator.models.files(model.model_id)}
    assert "published without other forms" in caplog.text
