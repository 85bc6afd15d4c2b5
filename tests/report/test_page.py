"""The page as text: what it holds, and that nothing in it comes from elsewhere."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxloss.report import page
from jaxloss.report.findings import find

EVIL = "</script><script>alert(1)</script><!--"


class Reader(HTMLParser):
    """Collects the addresses, the scripts and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.scripts, self.words, self.inside = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        if tag == "script":
            self.scripts.append("")
        self.addresses += [v for k, v in attrs if k in ("href", "src", "action")]

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.words += data


def drawn(number=60, *, text=None, images=None, class_names=None, **options):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), number)
    probabilities[4] = np.nan
    found = find(
        labels=rng.integers(0, 3, number),
        probabilities=probabilities,
        class_names=class_names,
        metadata=options.pop("metadata", None),
    )
    settings = {"title": "Audit", "rows": 1000, "pictures": 10, **options}
    beside = page.Beside([], [], [("samples.csv", "every sample")])
    return found, page.render(found, beside, text=text, images=images, **settings)


def data_of(html):
    return json.loads(Reader(html).scripts[0])


def test_the_page_asks_for_nothing_from_elsewhere():
    _, html = drawn()
    addresses = Reader(html).addresses
    assert addresses
    for address in addresses:
        assert address.startswith("#") or address in ("data:,", "samples.csv")
    assert "default-src 'none'" in html


def test_data_can_neither_end_its_script_nor_begin_another():
    names = [EVIL, "b", "c"]
    text = np.array([EVIL] * 60)
    _, html = drawn(class_names=names, text=text, title=EVIL, metadata={EVIL: text})
    reader = Reader(html)
    assert len(reader.scripts) == 3  # the data, plotly and the page's own
    data = json.loads(reader.scripts[0])
    assert data["classes"] == names and data["text"][0] == EVIL
    assert EVIL in reader.words and EVIL not in html.partition("<script")[0]


@pytest.mark.parametrize("value", ["<", "&amp;", "\u2028", "\ud800", 'a"b\\', "日本"])
def test_embedded_json_reads_back(value):
    text = page.embedded({"key": [value, 1.5, None]})
    assert json.loads(text) == {"key": [value, 1.5, None]}
    assert not set(text) & set("<>&") and text.isascii()


def test_the_rows_are_the_most_suspicious_and_the_rest_is_spoken_of():
    found, html = drawn(rows=12)
    columns = {column["key"]: column for column in data_of(html)["columns"]}
    assert columns["sample"]["values"] == found.order[:12].tolist()
    np.testing.assert_allclose(
        columns["score"]["values"], found.scores[found.order[:12]], rtol=1e-5
    )
    assert "The list holds the 12 most suspicious of 59 samples" in html
    assert "1 sample without a score is left out, by index: 4." in html


def test_images_are_bounded_and_the_bound_is_spoken_of():
    _, html = drawn(images=np.zeros((60, 4, 4), np.uint8), pictures=5)
    assert len(data_of(html)["thumbnails"]) == 5
    assert "Images are here for the 5 most suspicious samples." in html


def test_long_texts_are_cut_and_the_cut_is_spoken_of():
    _, html = drawn(text=np.array(["word " * 200] * 60))
    assert {len(entry) for entry in data_of(html)["text"]} <= set(range(290, 301))
    assert "Texts are cut after 300 letters" in html


def test_numbers_that_json_does_not_know_survive():
    found, html = drawn(metadata={"size": np.where(np.arange(60) % 2, np.inf, np.nan)})
    column = data_of(html)["columns"][-1]["values"]
    most = float(np.finfo(np.float64).max)
    assert column == [most if i % 2 else None for i in found.order.tolist()]


def test_few_different_words_are_stored_once():
    metadata = {
        "site": np.array(["Lyon", "Graz"] * 30),
        "id": np.arange(60).astype(str),
    }
    _, html = drawn(metadata=metadata)
    *_, site, name = data_of(html)["columns"]
    assert site["kind"] == "name" and site["names"] == ["Graz", "Lyon"]
    assert name["kind"] == "string"


def test_without_probabilities_the_parts_say_what_they_need():
    found = find(labels=[0, 1, 1], scores=[0.1, 0.9, 0.2])
    beside = page.Beside([], [], [])
    html = page.render(
        found, beside, title="Audit", rows=9, pictures=0, images=None, text=None
    )
    for words in (
        "A map needs the model's probabilities.",
        "There are no finite losses to show.",
        "No other label is suggested for any sample.",
        "No suspect has another label suggested.",
        "Give columns of metadata",
    ):
        assert words in Reader(html).words
    assert not {"map", "losses", "confusion"} & data_of(html).keys()
