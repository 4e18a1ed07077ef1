"""`data masks add` and what an import does with masks: a reader's work comes in, a model's alone does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from client import cli
from client.annotation.dicom_seg import draw_seg
from client.catalog import Catalog, MaskOrigin
from client.imaging.example import Label
from client.intake.dicom_file import read_mammogram
from client.intake.exclusions import Reason
from client.intake.importer import Importer, ImportReport
from client.intake.mask_import import MaskReport, add_masks
from client.intake.masks import MaskFile, Masks, digest_of, open_masks
from client.intake.sources import list_images, locate
from deploy.demo.phantoms import GE, write_hospital
from shared.errors import EmptySourceError

ORIGIN = MaskOrigin(kind="mask", annotator="AB", drawn_on="2026-01-02", version="1")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One woman in both views, with masks."""
    folder = tmp_path_factory.mktemp("source") / "hospital"
    list(write_hospital(folder, vendor=GE, patients=1, seed=8, density_mix={"c": 1.0}, spacing_mm=0.5))
    return folder


@pytest.fixture
def home(hospital: Path, tmp_path: Path) -> Path:
    """A site that has the images without masks."""
    shutil.copytree(hospital / "images", tmp_path / "bare")
    assert bring_in(tmp_path / "bare", tmp_path / "home").added == 2
    return tmp_path / "home"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A command of `mammofed-site data`: its exit code, and what it prints for persons."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mammofed-site", "data", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def bring_in(folder: Path, home: Path) -> ImportReport:
    with Catalog.open(home) as catalog:
        return Importer(catalog=catalog, actor="local:test", workers=1).bring_in(folder)


def add(folder: Path, home: Path, *, approved: bool = False) -> MaskReport:
    with Catalog.open(home) as catalog:
        return add_masks(folder, catalog, ORIGIN, lambda *_: None, approved=approved, workers=1)


def labelled(home: Path) -> int:
    with Catalog.open(home) as catalog:
        return catalog.counts().labelled


def images(hospital: Path) -> dict[str, Path]:
    return {
        str(dcmread(image, stop_before_pixels=True).SOPInstanceUID): image
        for image in sorted((hospital / "images").iterdir())
    }


def labels_of(hospital: Path, uid: str) -> np.ndarray:
    shape = read_mammogram(images(hospital)[uid]).pixels_HW.shape
    return open_masks(hospital / "masks")[uid].read((shape[0], shape[1]))


def note_as_drafts(hospital: Path, home: Path) -> None:
    """As if a model had drawn the very masks."""
    with Catalog.open(home) as catalog:
        pseudonyms = catalog.pseudonyms()
        for uid in images(hospital):
            digest = digest_of(labels_of(hospital, uid))
            catalog.drafts.note(pseudonyms.source(uid), pseudonyms.content(digest))


def test_a_draft_that_nobody_corrected_is_no_mask_in_whatever_form_until_a_reader_approves(
    hospital: Path, home: Path
) -> None:
    note_as_drafts(hospital, home)  # drawn by the model as segmentations or outlines, here as label maps
    told = add(hospital / "masks", home)
    assert (told.added, [one.reason for one in told.refusals]) == (0, [Reason.DRAFT] * 2)
    assert labelled(home) == 0
    assert add(hospital / "masks", home, approved=True).added == 2
    assert labelled(home) == 2


def test_a_draft_that_a_reader_corrected_by_one_pixel_is_a_mask(
    hospital: Path, home: Path, tmp_path: Path
) -> None:
    note_as_drafts(hospital, home)
    uid, image = next(iter(images(hospital).items()))
    labels_HW = labels_of(hospital, uid).copy()
    labels_HW[tuple(np.argwhere(labels_HW == Label.DENSE)[0])] = Label.ADIPOSE
    (tmp_path / "masks").mkdir()
    # As a viewer exports it that keeps the mark of an automatic segmentation.
    (tmp_path / "masks/a.dcm").write_bytes(draw_seg(image, labels_HW, "pilot-3"))
    assert add(tmp_path / "masks", home).added == 1


def test_an_automatic_segmentation_of_which_no_draft_is_known_needs_approval(
    hospital: Path, home: Path, tmp_path: Path
) -> None:
    uid, image = next(iter(images(hospital).items()))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.dcm").write_bytes(draw_seg(image, labels_of(hospital, uid), "somebody's"))
    assert [one.reason for one in add(tmp_path / "masks", home).refusals] == [Reason.DRAFT]
    assert add(tmp_path / "masks", home, approved=True).added == 1


@pytest.mark.parametrize("here", [True, False])
def test_an_import_takes_no_draft_for_a_mask_and_its_image_waits(
    hospital: Path, home: Path, here: bool, tmp_path: Path
) -> None:
    if not here:
        home = tmp_path / "new"
    note_as_drafts(hospital, home)
    report = bring_in(hospital, home)
    assert report.excluded == {Reason.DRAFT: 2}
    assert (report.added, report.masks_added) == (0 if here else 2, 0)
    assert labelled(home) == 0


def test_a_withdrawal_takes_what_is_noted_of_drafts_with_it(hospital: Path, home: Path) -> None:
    note_as_drafts(hospital, home)
    patient = str(dcmread(next(iter(images(hospital).values()))).PatientID)
    with Catalog.open(home) as catalog:
        pseudonyms = catalog.pseudonyms()
        sources = [pseudonyms.source(uid) for uid in images(hospital)]
        assert all(catalog.drafts.of(source) for source in sources)
        with catalog.importing():
            catalog.remove_patient(pseudonyms.patient(patient), actor="local:test")
        assert not any(catalog.drafts.of(source) for source in sources)


def test_a_mask_that_ends_the_process_which_draws_it_costs_itself_alone(
    hospital: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = images(hospital)
    whole = open_masks(hospital / "masks")[second]
    broken = MaskFile(key=first, kind="seg", draw=int, position=3)  # type: ignore[arg-type]
    monkeypatch.setattr("client.intake.mask_import.open_masks", lambda _: Masks.of([broken, whole]))
    told = add(hospital / "masks", home)
    assert told.added == 1
    assert [(one.position, one.reason) for one in told.refusals] == [(3, Reason.MASK)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("missing", "no such folder"), ("file", "not a folder of masks"), ("empty", "holds no mask")],
)
def test_what_is_no_folder_of_masks_is_told_apart(home: Path, tmp_path: Path, kind: str, words: str) -> None:
    folder = tmp_path / "JANE"
    if kind == "file":
        folder.write_bytes(b"PK\3\4")
    elif kind == "empty":
        folder.mkdir()
    with pytest.raises(EmptySourceError, match=words) as caught:
        add(folder, home)
    assert "JANE" not in caught.value.message + caught.value.hint


def test_the_number_that_is_printed_of_a_mask_names_its_file(
    hospital: Path, home: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(hospital / "masks", folder)
    stray = min(folder.glob("*.png")).rename(folder / "stray.png")
    _, out, _ = command("masks", "add", folder, "--annotator", "AB", "--home", home)
    assert "1 excluded (no-image)" in out
    number = out.split("    at ")[1].split()[0]
    assert "`mammofed-site data masks locate FOLDER NUMBER`" in out
    assert command("masks", "locate", folder, number)[1].strip() == stray.name
    assert command("masks", "locate", folder, "99")[0] == EmptySourceError.exit_code


def test_the_number_of_a_mask_in_an_imported_folder_names_its_file(
    hospital: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(hospital, folder)
    min((folder / "masks").glob("*.png")).rename(folder / "masks/stray.png")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    for source, prefix in ((folder, "masks:"), (archive, "1:masks:")):
        _, out, _ = command("add", source, "--home", tmp_path / Path(source).name.partition(".")[0])
        place = out.split("    at ")[1].split()[0]
        assert place.startswith(prefix)
        name = command("locate", source, place, "--home", tmp_path / "packed")[1]
        assert name.strip().splitlines()[-1] == "masks/stray.png"


def test_each_refusal_is_told_in_its_own_words(hospital: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "source"
    shutil.copytree(hospital, folder)
    archive = Path(shutil.make_archive(str(folder / "old"), "zip", hospital / "masks"))
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # the flag of an encrypted member
    archive.write_bytes(content)
    (folder / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08\0cut")
    _, out, _ = command("add", folder, "--home", tmp_path / "home")
    assert "1 quarantined (archive): The archive is encrypted. Unpack it with its password" in out
    assert "1 quarantined (undecodable): The archive is damaged or incomplete." in out
    _, out, _ = command("add", folder, "--home", tmp_path / "home", "--json")
    reasons = {one["reason"] for one in json.loads(out)["not_used"]}
    assert reasons == {"archive", "undecodable"}


def test_the_number_that_a_presegmentation_would_print_is_that_of_the_source(
    hospital: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(hospital / "images", folder)
    (folder / "0 nowhere").symlink_to("gone")
    for position, path in list_images(folder, without_mask=True):
        assert locate(folder, position) == path.name
    (folder / "index.csv").write_text("image,label\na,b\n" + f"{next(iter(folder.glob('*CC*'))).name},\n")
    assert [position for position, _ in list_images(folder, without_mask=True)] == [2]
