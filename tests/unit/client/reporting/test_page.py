"""The page is one file that loads nothing, runs nothing and names nobody."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.catalog import Catalog, Part
from client.imaging.example import Example, Label
from client.imaging.overlay import BREAST, DENSE, PECTORAL
from client.reporting.contact_sheet import LONG_SIDE_PX, draw_contact_sheet, draw_thumbnail
from client.reporting.measurement import measure
from client.reporting.page import render_page
from client.reporting.report import describe
from shared.errors import StoreError
from shared.pages import write_page
from shared.plan import Plan, RoundsPlan

AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
PLAN = Plan(name="pilot", rounds=RoundsPlan(count=3))
VOID = frozenset({"meta", "img", "br"})


class Page(HTMLParser):
    """What a browser would make of the page; fails on elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def render(catalog: Catalog, title: str = "North", *, seed: int = 1) -> str:
    return render_page(
        describe(catalog, title=title, at=AT, plan=PLAN),
        measure(catalog, lambda *_: None),
        draw_contact_sheet(catalog, seed=seed),
    )


def test_the_page_loads_and_runs_nothing(filled: Catalog) -> None:
    text = render(filled)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        for name in ("src", "href", "xlink:href", "action", "background"):
            assert attributes.get(name, "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r'src="[^"]*"', "", text))


def test_the_content_security_policy_admits_this_style_and_nothing_else(filled: Catalog) -> None:
    text = render(filled)
    (policy,) = [
        meta["content"]
        for meta in Page(text).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    # It must stand before everything that it governs.
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_script_injection_by_a_name_stays_text(filled: Catalog) -> None:
    title = '<script>alert(1)</script><img src=x onerror="alert(1)">'
    page = Page(render(filled, title))
    assert page.all("script") == []
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert title in page.text


def test_neither_pseudonyms_nor_ids_nor_hashes_are_in_the_page(filled: Catalog) -> None:
    text = render(filled)
    ids = [each for part in Part for each in filled.examples(part)] + filled.unlabelled()
    assert len(ids) == 5
    for secret in (*ids, "source ", "content ", "p1", "p2", "p3"):
        assert secret not in re.sub(r'src="[^"]*"', "", text)


def test_it_says_at_the_top_that_it_stays_at_the_site(filled: Catalog) -> None:
    text = render(filled)
    assert 0 < text.index("stays at the site") < text.index("<h1>")


def test_tables_have_headers_and_pictures_have_words(filled: Catalog) -> None:
    page = Page(render(filled))
    assert all(header["scope"] in {"col", "row"} for header in page.all("th"))
    images = page.all("img")
    assert len(images) == 5
    assert all(image["alt"].startswith("Mammogram ") for image in images)
    assert [image["alt"] for image in images if "without a mask" in image["alt"]]
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and drawing["aria-label"])
    assert page.all("html") == [{"lang": "en"}]


def test_all_numbers_are_on_the_page(filled: Catalog) -> None:
    with filled.importing():
        filled.remove_patient("p3", actor="local:test")
    said = " ".join(" ".join(Page(render(filled)).text).split())
    assert "4 labelled" not in said
    assert "2 labelled in the training part, 4 needed" in said
    assert "Not ready yet" in said
    assert "IMS Giotto" in said
    assert "The image is a spot compression view" in said
    assert "Quarantined Something is broken" in said
    assert "Percent density of masks (%) 3 examples: median 25 %" in said
    assert "5 March 2026, 09:30 UTC" in said


def test_an_empty_catalog_has_a_page(catalog: Catalog) -> None:
    page = Page(render(catalog))
    assert page.all("img") == []
    assert "Nothing has been removed." in page.text


def test_the_same_seed_shows_the_same_and_another_one_another_choice(
    filled: Catalog, add: Callable[..., str]
) -> None:
    for number in range(20):
        add(f"p{number:02}", 10 * number)
    assert render(filled, seed=1) == render(filled, seed=1)
    assert render(filled, seed=1) != render(filled, seed=2)
    sheet = draw_contact_sheet(filled, seed=1, num_shown=6)
    assert len(sheet) == 6


def test_a_thumbnail_shows_outlines_in_their_colours_and_the_inside_untouched() -> None:
    labels_HW = np.zeros((900, 600), np.uint8)
    labels_HW[200:800, 0:500] = Label.ADIPOSE
    labels_HW[400:600, 100:300] = Label.DENSE
    labels_HW[0:180, 0:200] = Label.PECTORAL
    example = Example(example_id="e", image_HW=np.full((900, 600), 32768, np.uint16), labels_HW=labels_HW)
    thumbnail = draw_thumbnail(example, Part.TEST)
    picture = Image.open(io.BytesIO(thumbnail.jpeg))
    assert picture.format == "JPEG"
    assert picture.size == (thumbnail.width, thumbnail.height)
    assert max(picture.size) == LONG_SIDE_PX
    drawn_HWC = np.asarray(picture).astype(int)
    for colour in (BREAST, DENSE, PECTORAL):
        near_HW = np.abs(drawn_HWC - np.array(colour)).max(axis=2) < 40
        assert 50 < near_HW.sum() < 0.05 * near_HW.size
    # The middle of the dense region keeps its grey.
    assert np.abs(drawn_HWC[178, 71] - 128).max() <= 3
    assert thumbnail.percent_density == pytest.approx(100 * 40_000 / 300_000)


def test_a_picture_without_a_mask_is_grey_and_never_enlarged() -> None:
    image_HW = np.random.default_rng(0).integers(0, 65536, (50, 40)).astype(np.uint16)
    thumbnail = draw_thumbnail(Example(example_id="e", image_HW=image_HW, labels_HW=None), None)
    drawn_HWC = np.asarray(Image.open(io.BytesIO(thumbnail.jpeg)).convert("RGB")).astype(int)
    assert drawn_HWC.shape[:2] == (50, 40)
    assert np.ptp(drawn_HWC, axis=2).max() <= 4
    assert thumbnail.percent_density is None


def test_a_page_is_private_and_never_written_over_another_file(filled: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_page("first", file)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="exists already"):
        write_page("second", file)
    assert file.read_text() == "first"
