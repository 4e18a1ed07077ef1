"""The pages of the models: what they show, and that they do what the commands do."""

from __future__ import annotations

import asyncio
import hashlib
import html
import io
import itertools
import re
import tracemalloc
import zipfile

import pytest

import server.publication
from server.comparison import compare
from server.console.downloads import archive_response
from server.console.models import NUM_HEATS, matrix
from server.lineage import Relation, lineage
from server.store import Model, ModelFile
from server.submission import extend
from shared.package import MODEL_CARD, verify_package
from shared.persons.roles import Role
from shared.published import ModelState
from tests.unit.server.console.console import Console
from tests.unit.server.console.recorded_runs import finish_run, plan_of, submit_run
from tests.unit.server.console.test_federation_page import text_of

SITES = ("aarhus", "bergen", "cork")


@pytest.fixture(autouse=True)
def without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.publication, "draw_curves", lambda _summary, _lines: b"picture")


@pytest.fixture
def model(console: Console) -> Model:
    for name in SITES:
        console.enrol(name)
    return finish_run(console.coordinator, plan_of(3))


def page_of(console: Console, path: str, name: str = "vera") -> str:
    answer = console.browser_of(name).get(path)
    assert answer.status_code == 200, answer.text
    return text_of(html.unescape(answer.text))


def state_of(console: Console, model: Model) -> ModelState:
    return console.coordinator.models.get(model.model_id).state


def test_without_any_model_the_page_says_what_to_do_next(console: Console) -> None:
    assert "A run that has finished publishes one" in page_of(console, "/models")


def test_models_are_beside_hospitals_and_the_worst_is_named(console: Console, model: Model) -> None:
    (found,) = compare(console.coordinator, "dice_dense").models

    page = page_of(console, "/models")

    assert model.model_id in page
    assert f"{found.sites['cork'].value:.3f} worst" in page
    assert "density error (pp)" in page_of(console, "/models?measure=percent_density_error")
    assert console.browser_of("vera").get("/models?measure=luck").status_code == 409


def test_a_cell_is_the_darker_the_worse_its_value_is(console: Console, model: Model) -> None:
    finish_run(console.coordinator, plan_of(3), run_id="run-2", better_by=0.1)

    cells = matrix(compare(console.coordinator, "dice_dense"))

    older, newer = cells[model.model_id], cells["density-2"]
    assert [older[site].heat for site in SITES] == sorted(older[site].heat for site in SITES)
    assert older["cork"].heat == NUM_HEATS - 1
    assert newer["aarhus"].heat == 0
    assert [site for site in SITES if older[site].is_worst] == ["cork"]


def test_a_model_has_its_passport_card_and_measures_and_the_worst_hospital_first(
    console: Console, model: Model
) -> None:
    page = page_of(console, f"/models/{model.model_id}")

    assert model.manifest_sha256 in page
    assert MODEL_CARD in page
    assert "Images stayed at the sites" in page
    assert "Overlap with the expert's segments (Dice)" in page
    fairness = page[page.index("Fairness") : page.index("all hospitals")]
    assert re.search(r"cork .* bergen .* aarhus ", fairness)
    assert console.browser_of("vera").get("/models/density-9").status_code == 404


def test_lineage_names_what_a_model_came_from_and_what_came_of_it(console: Console, model: Model) -> None:
    runs = console.coordinator.runs
    child = extend(console.coordinator, model.run_id, num_rounds=2, learning_rate=None, actor="person:otto")
    changed = plan_of(9).model_copy(update={"parent": runs.get(model.run_id).plan_sha256})
    submit_run(console.coordinator, changed, "run-3")

    mine = lineage(console.coordinator, runs.get(model.run_id))
    theirs = lineage(console.coordinator, child)

    assert [(each.relation, each.run_id) for each in mine] == [
        (Relation.CONTINUES, child.run_id),
        (Relation.CHANGES, "run-3"),
    ]
    assert [(each.relation, each.model_id) for each in theirs] == [(Relation.CONTINUED, model.model_id)]
    assert child.run_id in page_of(console, f"/models/{model.model_id}")


def test_an_operator_downloads_the_package_which_verifies_and_it_is_written_down(
    console: Console, model: Model, tmp_path
) -> None:
    answer = console.browser_of("otto").post(f"/models/{model.model_id}/download")

    assert answer.headers["content-disposition"] == f'attachment; filename="{model.model_id}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    package = verify_package(tmp_path / model.model_id, console.coordinator.anchors.signing_key)
    assert package.manifest_sha256 == model.manifest_sha256
    assert [line[:2] for line in console.lines("model.downloaded")] == [("person:otto", model.model_id)]


def test_a_file_of_a_model_is_sent_in_parts_that_go_on_with_the_same_bytes(
    console: Console, model: Model
) -> None:
    browser, place = console.browser_of("otto"), f"/models/{model.model_id}/files/{MODEL_CARD}"
    whole = browser.get(place)
    tag, half = whole.headers["etag"], len(whole.content) // 2
    assert (whole.status_code, tag) == (200, f'"{hashlib.sha256(whole.content).hexdigest()}"')

    begun = browser.get(place, headers={"range": f"bytes=0-{half - 1}"})
    rest = browser.get(place, headers={"range": f"bytes={half}-", "if-range": tag})

    assert (begun.status_code, rest.status_code) == (206, 206)
    assert rest.headers["content-range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
    assert begun.content + rest.content == whole.content
    # Of another file nothing is gone on with, and beyond the end there is nothing.
    other = browser.get(place, headers={"range": f"bytes={half}-", "if-range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert browser.get(place, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert browser.get(f"{place}x").status_code == 404
    assert console.browser_of("vera").get(place).status_code == 403
    assert [line[:2] for line in console.lines("model.downloaded")] == [("person:otto", model.model_id)] * 5


def test_many_downloads_at_once_take_little_memory(console: Console) -> None:
    blobs, size_bytes = console.coordinator.blobs, 24 << 20
    files = [ModelFile(name="weights.safetensors", blob=blobs.put_bytes(bytes(size_bytes)))]
    at_once = 8

    async def read_all() -> list[int]:
        streams = [aiter(archive_response(blobs, files, "density-1").body_iterator) for _ in range(at_once)]
        sizes = [0] * at_once
        for number in itertools.cycle(range(at_once)):  # all in step, as slow readers would have it
            content = await anext(streams[number], None)
            if content is None:
                return sizes
            sizes[number] += len(content)
        raise AssertionError

    tracemalloc.start()
    sizes = asyncio.run(read_all())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert min(sizes) > size_bytes
    assert peak < at_once * (4 << 20)


def test_a_model_is_released_by_two_administrators_and_not_by_one_twice(
    console: Console, model: Model
) -> None:
    console.coordinator.persons.add("ben", Role.ADMINISTRATOR, actor="test", at=console.clock())
    console.set_password("ben")
    ada, path = console.browser_of("ada"), f"/models/{model.model_id}"

    ada.post(f"{path}/release")
    ada.post(f"{path}/release")
    assert state_of(console, model) is ModelState.CANDIDATE
    assert "waits for a second administrator" in page_of(console, path)

    console.browser_of("ben").post(f"{path}/release")
    assert state_of(console, model) is ModelState.RELEASED
    assert "Release for the clinic" not in ada.get(path).text


def test_an_operator_revokes_a_model_and_says_why(console: Console, model: Model) -> None:
    otto, path = console.browser_of("otto"), f"/models/{model.model_id}"

    assert otto.post(f"{path}/revoke", {"reason": ""}).status_code == 409
    assert otto.post(f"{path}/revoke", {"reason": "Worse at cork"}).status_code == 303

    assert state_of(console, model) is ModelState.REVOKED
    assert "Worse at cork" in page_of(console, path)


@pytest.mark.parametrize(
    ("name", "deed"), [("vera", "download"), ("vera", "revoke"), ("vera", "release"), ("otto", "release")]
)
def test_role_escalation_a_role_that_is_not_enough_does_nothing_to_a_model(
    console: Console, model: Model, name: str, deed: str
) -> None:
    browser, path = console.browser_of(name), f"/models/{model.model_id}"

    assert browser.post(f"{path}/{deed}", {"reason": "none"}).status_code == 403

    assert state_of(console, model) is ModelState.CANDIDATE
    assert f"{path}/{deed}" not in browser.get(path).text
