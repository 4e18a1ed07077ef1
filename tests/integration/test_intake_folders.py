"""From a hospital's folder to the catalog: what gets in, what does not and why, and that no name does."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from client.catalog import Catalog, MaskOrigin, Part
from client.home import STORE_FILE
from client.imaging.density import measure_density
from client.imaging.example import Label
from client.incoming import pulled_folder, quarantined_folder, received_folder, unpacked_folder
from client.intake import unpacking
from client.intake.exclusions import IntakeRules, Reason
from client.intake.importer import Importer, ImportReport, Stages
from client.intake.mask_import import add_masks
from client.intake.masks import name_at
from client.intake.sources import locate, locate_packed
from client.store.records import Records
from client.withdrawal import forget, withdraw
from deploy.demo.phantoms import GE, HOLOGIC, WrittenImage, write_hospital
from shared.errors import EmptySourceError, MaskError, StoreError
from shared.files import BusyError, hold_folder

DDSM = Path(__file__).resolve().parents[2] / "../shared/data/ddsm_density"
needs_ddsm = pytest.mark.skipif(not DDSM.is_dir(), reason="the real films of ddsm_density are not here")
DRAWN = MaskOrigin(kind="mask", annotator="reader-1", drawn_on="2024-05-17", version="2")
SECRET = "DOE-JANE-4711"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "hospital"
    write_images(folder)
    return folder


def write_images(folder: Path) -> list[WrittenImage]:
    """Four women, one breast each in both views; stored without compression."""
    mix = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    return list(write_hospital(folder, vendor=GE, patients=4, seed=8, density_mix=mix, spacing_mm=0.5))


def bring_in(folder: Path, home: Path) -> ImportReport:
    with Catalog.open(home) as catalog:
        return Importer(catalog=catalog, actor="local:test", workers=2).bring_in(folder)


def quiet(_done: int, _total: int) -> None:
    """Nobody is watching."""


def change(source: Path, target: Path, alter: Callable[[Path], None]) -> Path:
    """A copy of a hospital's folder after `alter` has worked on its first image."""
    shutil.copytree(source, target)
    alter(min((target / "images").iterdir()))
    return target


def mask_of(image: Path) -> Path:
    return image.parent.parent / "masks" / f"{dcmread(image, stop_before_pixels=True).SOPInstanceUID}.png"


def test_a_hospitals_folder_comes_in_whole(hospital: Path, tmp_path: Path) -> None:
    report = bring_in(hospital, tmp_path)
    assert (report.added, report.already_there, report.refusals) == (8, 0, ())
    with Catalog.open(tmp_path) as catalog:
        counts = catalog.counts()
        assert counts.by_view == {"CC": 4, "MLO": 4}
        assert counts.by_manufacturer == {"ge": 8}
        assert counts.patients == 4
        for part in Part:
            for example_id in catalog.examples(part):
                example = catalog.load(example_id)
                assert example.image_HW.shape == example.labels_HW.shape
                assert set(np.unique(example.labels_HW)) <= {label.value for label in Label}
                # Lobes of the breast are dense and bright: mask and image are turned alike.
                dense = example.image_HW[example.labels_HW == Label.DENSE].mean()
                assert dense > example.image_HW[example.labels_HW == Label.ADIPOSE].mean()


def test_a_second_import_adds_nothing(hospital: Path, tmp_path: Path) -> None:
    bring_in(hospital, tmp_path)
    report = bring_in(hospital, tmp_path)
    assert (report.added, report.already_there) == (0, 8)


def test_progress_is_told_for_every_image(hospital: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with Catalog.open(tmp_path) as catalog:
        Importer(catalog=catalog, actor="local:test").bring_in(
            hospital, Stages(preparing=lambda done, total: told.append((done, total)))
        )
    assert told == [(number, 8) for number in range(9)]


def packed(folder: Path, archive: Path) -> Path:
    return Path(shutil.make_archive(str(archive), "zip", folder))


def test_an_archive_comes_in_as_its_folder_would_and_nothing_stays_unpacked(
    hospital: Path, tmp_path: Path
) -> None:
    report = bring_in(packed(hospital, tmp_path / SECRET), tmp_path / "packed")
    assert (report.added, report.refusals) == (8, ())
    assert list(unpacked_folder(tmp_path / "packed").iterdir()) == []
    bring_in(hospital, tmp_path / "plain")
    with Catalog.open(tmp_path / "packed") as one, Catalog.open(tmp_path / "plain") as other:
        assert one.counts() == other.counts()


def test_archives_in_a_folder_come_in_with_it_and_a_damaged_one_costs_itself_alone(
    hospital: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "loose").mkdir(parents=True)
    images = sorted((hospital / "images").iterdir())
    for image in images[:3]:
        shutil.copy(image, folder / "loose")
    packed(hospital, folder / "a")
    whole = packed(hospital, tmp_path / "b").read_bytes()
    (folder / "b.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.xml").write_text("Dear colleague")
    packed(tmp_path / "letters", folder / "letter.docx")
    report = bring_in(folder, tmp_path / "home")
    assert report.added == 8
    assert report.num_ignored == 1  # the document
    duplicates = [one for one in report.refusals if one.reason is Reason.DUPLICATE]
    assert len(duplicates) == 3
    assert all(one.archive == 1 for one in duplicates)
    (damaged,) = [one for one in report.refusals if one not in duplicates]
    assert (damaged.place, damaged.reason) == ("2", Reason.UNDECODABLE)
    assert locate(folder, damaged.position) == "b.zip"
    place = duplicates[0]
    name = locate_packed(folder, 1, place.position, tmp_path / "spool", quiet)
    assert name is not None
    assert (folder / "loose" / Path(name).name).is_file()
    assert locate_packed(folder, 4, 1, tmp_path / "spool", quiet) is None


def test_the_split_is_the_same_at_every_site_and_for_any_file_names(hospital: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(hospital, renamed)
    for number, image in enumerate(sorted((renamed / "images").iterdir(), reverse=True)):
        image.rename(renamed / f"{number:03}")
    contents = []
    for source, home in ((hospital, tmp_path / "one"), (renamed, tmp_path / "two")):
        bring_in(source, home)
        with Catalog.open(home) as catalog:
            contents.append(
                {
                    part: [catalog.load(one).image_HW.tobytes() for one in catalog.examples(part)]
                    for part in Part
                }
            )
    assert contents[0] == contents[1]
    assert all(contents[0].values())


def test_no_identifier_survives_in_the_home_or_in_the_report(tmp_path: Path) -> None:
    folder = tmp_path / SECRET
    written = write_images(folder)
    for image in written:
        dataset = dcmread(image.image_path)
        dataset.InstitutionName = dataset.StationName = dataset.DeviceSerialNumber = SECRET
        dataset.add_new(0x00091010, "LO", SECRET)
        dataset.Manufacturer = SECRET
        dataset.save_as(image.image_path)
    report = bring_in(folder, tmp_path / "home")
    assert report.added == 8
    secrets = {SECRET, written[0].image_path.name, mask_of(written[0].image_path).stem}
    for image in written:
        secrets |= {image.patient_id, image.patient_name, image.accession_number}
    stored = [report.__repr__().encode()]
    for file in (tmp_path / "home").rglob("*"):
        stored.append(file.name.encode())
        stored.append(file.read_bytes() if file.is_file() else b"")
    assert len(stored) > 8
    for secret in secrets:
        for spelling in (secret, secret.split("^")[0]):
            assert not any(spelling.encode() in data for data in stored), spelling


def test_markers_outside_the_breast_are_not_stored(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    write_images(folder)
    image = min((folder / "images").iterdir())
    dataset = dcmread(image)
    pixels_HW = dataset.pixel_array.copy()
    far_side = slice(-60, -10) if dataset.ImageLaterality == "L" else slice(10, 60)
    pixels_HW[30:70, far_side] = 4095
    dataset.PixelData = pixels_HW.tobytes()
    dataset.save_as(image)
    assert bring_in(folder, tmp_path / "home").added == 8
    with Catalog.open(tmp_path / "home") as catalog:
        for part in Part:
            for example_id in catalog.examples(part):
                example = catalog.load(example_id)
                outside_HW = example.labels_HW == Label.BACKGROUND
                assert np.mean(example.image_HW[outside_HW] > 30_000) < 0.01


def exclude(image: Path) -> None:
    dataset = dcmread(image)
    dataset.BreastImplantPresent = "YES"
    dataset.save_as(image)


def cut_off(image: Path) -> None:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


def lose_mask(image: Path) -> None:
    mask_of(image).unlink()


def mirror_mask(image: Path) -> None:
    values_HW = np.asarray(Image.open(mask_of(image)))
    Image.fromarray(np.ascontiguousarray(values_HW[:, ::-1])).save(mask_of(image))


def shrink_mask(image: Path) -> None:
    Image.open(mask_of(image)).resize((50, 80)).save(mask_of(image))


def smooth_mask(image: Path) -> None:
    values_HW = np.asarray(Image.open(mask_of(image))).copy()
    values_HW[0, 0] = 77
    Image.fromarray(values_HW).save(mask_of(image))


@pytest.mark.parametrize(
    ("alter", "reason", "quarantined"),
    [
        (exclude, Reason.IMPLANT, False),
        (cut_off, Reason.UNDECODABLE, True),
        (mirror_mask, Reason.MASK, True),
        (shrink_mask, Reason.MASK, True),
        (smooth_mask, Reason.MASK, True),
    ],
)
def test_one_bad_image_is_left_out_with_its_reason_and_the_others_come_in(
    hospital: Path, tmp_path: Path, alter: Callable[[Path], None], reason: Reason, quarantined: bool
) -> None:
    folder = change(hospital, tmp_path / "hospital", alter)
    report = bring_in(folder, tmp_path / "home")
    assert report.added == 7
    (refusal,) = report.refusals
    assert (refusal.position, refusal.reason) == (1, reason)
    assert refusal.remedy
    assert report.quarantined == ({reason: 1} if quarantined else {})
    assert report.excluded == ({} if quarantined else {reason: 1})


def test_a_mended_image_comes_in_with_the_next_import(hospital: Path, tmp_path: Path) -> None:
    folder = change(hospital, tmp_path / "hospital", mirror_mask)
    bring_in(folder, tmp_path / "home")
    report = bring_in(hospital, tmp_path / "home")
    assert (report.added, report.already_there) == (1, 7)


def test_an_image_without_a_mask_comes_in_and_takes_its_mask_later(hospital: Path, tmp_path: Path) -> None:
    folder = change(hospital, tmp_path / "hospital", lose_mask)
    assert bring_in(folder, tmp_path / "home").added == 8
    with Catalog.open(tmp_path / "home") as catalog:
        assert (catalog.counts().labelled, catalog.counts().unlabelled) == (7, 1)
    report = bring_in(hospital, tmp_path / "home")
    assert (report.added, report.masks_added, report.already_there) == (0, 1, 7)
    bring_in(hospital, tmp_path / "whole")
    masks = []
    for home in ("home", "whole"):
        with Catalog.open(tmp_path / home) as catalog:
            examples = [catalog.load(one) for part in Part for one in catalog.examples(part)]
        masks.append({example.labels_HW.tobytes() for example in examples})
    assert masks[0] == masks[1]


def test_masks_brought_later_by_a_reader_are_those_of_the_images(hospital: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(hospital / "images", bare)
    assert bring_in(bare, tmp_path / "home").added == 8
    stray = tmp_path / "masks"
    shutil.copytree(hospital / "masks", stray)
    (first, second, *_) = sorted(stray.glob("*.png"))
    first.rename(stray / "1.2.3.png")
    Image.fromarray(np.asarray(Image.open(second))[:, ::-1]).save(second)
    with Catalog.open(tmp_path / "home") as catalog:
        told = add_masks(stray, catalog, DRAWN, quiet, workers=2)
        assert told.added == 6
        assert [one.reason for one in told.refusals] == [Reason.MASK]
        (unmatched,) = told.unmatched
        assert (unmatched.reason, name_at(stray, unmatched.position)) == (Reason.NO_IMAGE, "1.2.3.png")
        assert catalog.counts().labelled == 6
        for part in Part:
            for example_id in catalog.examples(part):
                example = catalog.load(example_id)
                dense = example.image_HW[example.labels_HW == Label.DENSE].mean()
                assert dense > example.image_HW[example.labels_HW == Label.ADIPOSE].mean()


def test_a_patient_who_withdrew_is_left_out_of_every_later_import(hospital: Path, tmp_path: Path) -> None:
    bring_in(hospital, tmp_path)
    patient = str(dcmread(min((hospital / "images").iterdir())).PatientID)
    with Catalog.open(tmp_path) as catalog, catalog.importing():
        pseudonym = catalog.pseudonyms().patient(patient)
        assert catalog.remove_patient(pseudonym, actor="local:test").examples == 2
    report = bring_in(hospital, tmp_path)
    assert (report.added, report.already_there, report.excluded) == (0, 6, {Reason.WITHDRAWN: 2})


def test_the_same_mammogram_under_another_instance_uid_comes_in_once(hospital: Path, tmp_path: Path) -> None:
    def send_again(image: Path) -> None:
        dataset = dcmread(image)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        dataset.PatientID = "another number"
        dataset.save_as(image.with_name("again"))

    report = bring_in(change(hospital, tmp_path / "hospital", send_again), tmp_path / "home")
    assert (report.added, report.excluded) == (8, {Reason.DUPLICATE: 1})


def test_the_same_image_under_two_names_comes_in_once(hospital: Path, tmp_path: Path) -> None:
    def copy(image: Path) -> None:
        shutil.copy(image, image.with_name("copy"))

    report = bring_in(change(hospital, tmp_path / "hospital", copy), tmp_path / "home")
    assert (report.added, report.excluded) == (8, {Reason.DUPLICATE: 1})


def spoil(image: Path) -> None:
    """Pixels that cannot be decoded behind a header that is whole."""
    dataset = dcmread(image)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([b"no codestream"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(image)


@pytest.mark.parametrize("place", ["before", "zz after"])
def test_a_whole_copy_comes_in_whether_the_damaged_one_is_found_before_or_after_it(
    hospital: Path, tmp_path: Path, place: str
) -> None:
    def add_damaged(image: Path) -> None:
        (image.parent.parent / place).mkdir()
        spoil(shutil.copy(image, image.parent.parent / place))

    report = bring_in(change(hospital, tmp_path / "hospital", add_damaged), tmp_path / "home")
    assert report.added == 8
    first = place == "before"
    assert [one.reason for one in report.refusals] == [Reason.UNDECODABLE if first else Reason.DUPLICATE]
    with Catalog.open(tmp_path / "home") as catalog:
        assert catalog.exclusions() == {}  # the image itself is here


def test_an_image_of_which_every_copy_is_damaged_stays_open_for_a_later_fetch(
    hospital: Path, tmp_path: Path
) -> None:
    def spoil_both(image: Path) -> None:
        spoil(image)
        shutil.copy(image, image.with_name("copy"))

    folder = change(hospital, tmp_path / "hospital", spoil_both)
    report = bring_in(folder, tmp_path / "home")
    assert (report.added, report.quarantined) == (7, {Reason.UNDECODABLE: 2})
    uid = str(dcmread(folder / "images/copy", stop_before_pixels=True).SOPInstanceUID)
    with Catalog.open(tmp_path / "home") as catalog:
        assert not catalog.is_decided(catalog.pseudonyms().source(uid))


def test_a_whole_copy_in_one_archive_stands_in_for_a_damaged_one_in_another(
    hospital: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    packed(change(hospital, tmp_path / "damaged", spoil), folder / "a")
    packed(hospital, folder / "b")
    report = bring_in(folder, tmp_path / "home")
    assert report.added == 8
    assert report.quarantined == {Reason.UNDECODABLE: 1}
    with Catalog.open(tmp_path / "home") as catalog:
        assert catalog.exclusions() == {}


def test_a_damaged_file_of_an_image_that_waits_for_a_mask_does_not_keep_its_whole_copy_from_bringing_it(
    hospital: Path, tmp_path: Path
) -> None:
    bring_in(change(hospital, tmp_path / "bare", lose_mask), tmp_path / "home")

    def add_damaged(image: Path) -> None:
        spoil(shutil.copy(image, image.with_name("0")))

    report = bring_in(change(hospital, tmp_path / "hospital", add_damaged), tmp_path / "home")
    assert (report.added, report.masks_added, report.already_there) == (0, 1, 7)


def turn_round(image: Path) -> None:
    """Export the image and its mask again, upside down, under the same identifier."""
    dataset = dcmread(image)
    dataset.PixelData = dataset.pixel_array[::-1].tobytes()
    dataset.save_as(image)
    values_HW = np.asarray(Image.open(mask_of(image)))
    Image.fromarray(np.ascontiguousarray(values_HW[::-1])).save(mask_of(image))


def test_a_mask_of_other_pixels_under_the_same_identifier_is_not_put_on_those_that_are_here(
    hospital: Path, tmp_path: Path
) -> None:
    bring_in(change(hospital, tmp_path / "bare", lose_mask), tmp_path / "home")
    report = bring_in(change(hospital, tmp_path / "hospital", turn_round), tmp_path / "home")
    assert (report.added, report.masks_added, report.quarantined) == (0, 0, {Reason.ALTERED: 1})
    with Catalog.open(tmp_path / "home") as catalog:
        assert catalog.counts().labelled == 7
    assert bring_in(hospital, tmp_path / "home").masks_added == 1


def test_a_picture_takes_its_mask_and_what_is_known_of_it_later_as_it_was_prepared(
    hospital: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    image = min((hospital / "images").iterdir())
    grey_HW = dcmread(image).pixel_array
    Image.fromarray((grey_HW / grey_HW.max() * 65535).astype(np.uint16)).save(folder / "i.png")
    shutil.copy(mask_of(image), folder / "m.png")
    shutil.copy(hospital / "masks/values.toml", folder)
    index = folder / "index.csv"
    index.write_text("image,label,spacing_mm,year,density\ni.png,,,,\n")
    assert bring_in(folder, tmp_path / "home").added == 1
    index.write_text("image,label,spacing_mm,year,density\ni.png,m.png,0.1,2012,c\n")
    report = bring_in(folder, tmp_path / "home")
    assert (report.masks_added, report.completed, report.refusals) == (1, 1, ())
    again = bring_in(folder, tmp_path / "home")
    assert (again.masks_added, again.completed, again.already_there) == (0, 0, 1)
    with Catalog.open(tmp_path / "home") as catalog:
        (example_id,) = catalog.examples(Part.TRAIN)
        example = catalog.load(example_id)
        assert example.image_HW.shape == catalog.geometry(example_id).prepared_shape
        dense = example.image_HW[example.labels_HW == Label.DENSE].mean()
        assert dense > example.image_HW[example.labels_HW == Label.ADIPOSE].mean()
        assert (catalog.counts().by_year, catalog.counts().by_density) == ({"2012": 1}, {"c": 1})


def test_secondary_captures_come_in_only_when_accepted(hospital: Path, tmp_path: Path) -> None:
    def recapture(image: Path) -> None:
        dataset = dcmread(image)
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.save_as(image)

    folder = change(hospital, tmp_path / "hospital", recapture)
    assert bring_in(folder, tmp_path / "home").excluded == {Reason.SECONDARY_CAPTURE: 1}
    with Catalog.open(tmp_path / "home") as catalog:
        rules = IntakeRules(accept_secondary_capture=True)
        importer = Importer(catalog=catalog, actor="local:test", rules=rules)
        assert importer.bring_in(folder).added == 1


def test_other_files_in_the_folder_are_passed_over(hospital: Path, tmp_path: Path) -> None:
    def litter(image: Path) -> None:
        (image.parent / "Thumbs.db").write_bytes(b"x" * 400)
        (image.parent / "dangling").symlink_to("nowhere")

    report = bring_in(change(hospital, tmp_path / "hospital", litter), tmp_path / "home")
    assert (report.added, report.num_ignored) == (8, 1)


def test_a_killed_import_keeps_what_was_finished_and_the_next_ends_where_one_would(
    hospital: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, _total: int) -> None:
        if done == 3:
            raise Killed

    with Catalog.open(tmp_path / "killed") as catalog:
        with pytest.raises(Killed):
            Importer(catalog=catalog, actor="local:test").bring_in(hospital, Stages(preparing=kill))
        assert catalog.counts().examples == 3
    report = bring_in(hospital, tmp_path / "killed")
    assert (report.added, report.already_there) == (5, 3)
    bring_in(hospital, tmp_path / "whole")
    with Catalog.open(tmp_path / "killed") as killed, Catalog.open(tmp_path / "whole") as whole:
        assert killed.counts() == whole.counts()


def test_a_full_disk_stops_the_import_and_keeps_what_was_finished(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Records.write
    written: list[str] = []

    def write_two(records: Records, example_id: str, content: bytes) -> object:
        if len(written) == 2:
            raise StoreError("A file cannot be written: No space left on device.", "Free disk space.")
        written.append(example_id)
        return write(records, example_id, content)

    monkeypatch.setattr(Records, "write", write_two)
    with Catalog.open(tmp_path) as catalog:
        with pytest.raises(StoreError, match="No space left"):
            Importer(catalog=catalog, actor="local:test").bring_in(hospital)
        assert catalog.counts().examples == 2
        assert catalog.verify(quiet).damaged == ()


def test_an_import_that_ends_early_tells_what_is_in_and_why_the_rest_is_not(
    hospital: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    folder = change(hospital, tmp_path / "hospital", exclude)
    told: list[ImportReport] = []
    with Catalog.open(tmp_path / "home") as catalog:
        with pytest.raises(KeyboardInterrupt):
            Importer(catalog=catalog, actor="local:test").bring_in(
                folder, Stages(preparing=interrupt), told.append
            )
        assert catalog.exclusions() == {Reason.IMPLANT: 1}
    (report,) = told
    assert (report.added, report.excluded) == (5, {Reason.IMPLANT: 1})


def test_an_archive_without_room_costs_itself_alone(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    (folder / "b").mkdir(parents=True)
    large = packed(hospital, folder / "a")
    images = sorted((hospital / "images").iterdir())
    for image in images[:2]:
        shutil.copy(image, folder / "b")
    packed(folder / "b", folder / "c")
    shutil.rmtree(folder / "b")
    monkeypatch.setattr(unpacking, "KEPT_FREE_BYTES", 0)
    free = large.stat().st_size  # both are packed to less than what is in them
    monkeypatch.setattr(
        "client.intake.unpacking.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free)
    )
    report = bring_in(folder, tmp_path / "home")
    assert report.added == 2
    (refusal,) = report.refusals
    assert (refusal.place, refusal.reason) == ("1", Reason.UNREADABLE)
    assert "free disk space" in refusal.message


def test_while_another_import_runs_nothing_is_looked_at(hospital: Path, tmp_path: Path) -> None:
    looked: list[int] = []
    stages = Stages(scanning=lambda done, _total: looked.append(done))
    with (
        Catalog.open(tmp_path) as one,
        Catalog.open(tmp_path) as other,
        one.importing(),
        pytest.raises(BusyError, match="Another import"),
    ):
        Importer(catalog=other, actor="local:test").bring_in(hospital, stages)
    assert looked == []


def test_originals_of_a_killed_import_are_gone_with_the_patient_who_withdraws(
    hospital: Path, tmp_path: Path
) -> None:
    images = sorted((hospital / "images").iterdir())
    patient = str(dcmread(images[0]).PatientID)
    others = next(image for image in images if dcmread(image).PatientID != patient)
    broken = tmp_path / "broken"
    broken.write_bytes(images[0].read_bytes()[:300])
    home = tmp_path / "home"
    bring_in(hospital, home)
    left = [
        unpacked_folder(home) / "archive-x" / "deep",
        pulled_folder(home) / "patient-x",
        received_folder(home) / "importing",
        quarantined_folder(home),
    ]
    for folder in left:
        folder.mkdir(parents=True)
        shutil.copy(images[0], folder / "hers")
        shutil.copy(others, folder / "others")
        shutil.copy(broken, folder / "whose")
    with Catalog.open(home) as catalog:
        withdraw(catalog, patient, actor="local:test")
    assert [sorted(one.name for one in folder.glob("*")) for folder in left] == [
        [],
        [],
        ["others"],
        ["others"],
    ]
    with Catalog.open(home) as catalog:
        forget(catalog, actor="local:test")
    assert [file for file in (home / "incoming").rglob("*") if file.is_file() and file.name != ".lock"] == []


def test_what_a_reception_holds_is_left_to_it_when_a_patient_withdraws(
    hospital: Path, tmp_path: Path
) -> None:
    image = min((hospital / "images").iterdir())
    folder = received_folder(tmp_path) / "batch"
    folder.mkdir(parents=True)
    shutil.copy(image, folder)
    with Catalog.open(tmp_path) as catalog, hold_folder(folder.parent):
        withdraw(catalog, str(dcmread(image).PatientID), actor="local:test")
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("written", ["Mass-Training_P_00173_LEFT_CC", " P_00173 ", "P_00173"])
def test_a_withdrawal_finds_the_patient_however_the_identifier_is_written(
    hospital: Path, tmp_path: Path, written: str
) -> None:
    def rename(image: Path) -> None:
        dataset = dcmread(image)
        dataset.PatientID = "Mass-Training_P_00173_LEFT_MLO_1"
        dataset.save_as(image)

    bring_in(change(hospital, tmp_path / "hospital", rename), tmp_path / "home")
    with Catalog.open(tmp_path / "home") as catalog:
        assert withdraw(catalog, written, actor="local:test").removal.examples == 1


@pytest.mark.parametrize("kind", ["empty", "missing", "file", "text only", "masks only"])
def test_a_folder_without_mammograms_is_refused_and_not_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / SECRET
    if kind == "file":
        folder.touch()
    elif kind != "missing":
        folder.mkdir()
    if kind == "text only":
        (folder / "letter.txt").write_text("Dear colleague")
    if kind == "masks only":
        (folder / "masks").mkdir()
        (folder / "masks/values.toml").write_text("[values]\nbackground = 0\nadipose = 1\ndense = 2\n")
    with pytest.raises(EmptySourceError) as caught:
        bring_in(folder, tmp_path / "home")
    assert SECRET not in caught.value.message + caught.value.hint


def test_masks_without_declared_values_stop_the_import(hospital: Path, tmp_path: Path) -> None:
    folder = change(hospital, tmp_path / "hospital", lambda image: mask_of(image).touch())
    (folder / "masks/values.toml").unlink()
    with pytest.raises(MaskError, match="without a table"):
        bring_in(folder, tmp_path / "home")


def test_an_instance_uid_that_is_a_path_reads_no_mask_outside(tmp_path: Path) -> None:
    folder = tmp_path / "hospital"
    mix = {"b": 1.0}
    written = next(
        write_hospital(folder, vendor=HOLOGIC, patients=1, seed=1, density_mix=mix, spacing_mm=0.5)
    )
    dataset = dcmread(written.image_path)
    shutil.copy(written.mask_path, tmp_path / "outside.png")
    dataset.SOPInstanceUID = "../../outside"
    dataset.save_as(written.image_path)
    assert bring_in(folder, tmp_path / "home").added == 1
    with Catalog.open(tmp_path / "home") as catalog:
        assert catalog.counts().labelled == 0


@needs_ddsm
def test_the_real_films_come_in_with_the_density_that_their_expert_drew(tmp_path: Path) -> None:
    with (DDSM / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == "wake_forest"]
        rows += [row for row in csv.DictReader((DDSM / "index.csv").open()) if row["site"] == "ismd"][:5]
    folder = tmp_path / "source"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for row in rows:
        for column in ("image", "label"):
            shutil.copy(DDSM / row[column], folder / row[column])
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    report = bring_in(folder, tmp_path / "home")
    assert (report.added, report.refusals) == (len(rows), ())
    measured = []
    with Catalog.open(tmp_path / "home") as catalog:
        counts = catalog.counts()
        for part in Part:
            for example_id in catalog.examples(part):
                density = measure_density(catalog.load(example_id).labels_HW, None)
                assert density is not None
                measured.append(density.percent_density)
    assert counts.by_view == {"MLO": len(rows)}
    assert all(counts.patients_by_part.values())
    expected = sorted(float(row["percent_density"]) for row in rows)
    np.testing.assert_allclose(sorted(measured), expected, atol=1.0)


def test_the_store_holds_pseudonyms_of_full_length_only(hospital: Path, tmp_path: Path) -> None:
    bring_in(hospital, tmp_path)
    with sqlite3.connect(tmp_path / STORE_FILE) as connection:
        patients = connection.execute("SELECT pseudonym FROM patient").fetchall()
        sources = connection.execute("SELECT source FROM example").fetchall()
    assert len(patients) == 4
    assert len(sources) == 8
    for (hashed,) in patients + sources:
        assert len(hashed) == 64
        assert set(hashed) <= set("0123456789abcdef")
