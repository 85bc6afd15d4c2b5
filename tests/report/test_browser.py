"""The page in a real browser: it draws, sorts, filters, turns pages, and runs no data.

Screenshots are left in ``build/screenshots``. Without Chromium and its driver the tests
are skipped, or fail if the environment says ``JAXLOSS_BROWSER=required``.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from jaxloss import report

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
NAMES = ["cat", "<script>window.ran = true</script>", '<img src=x onerror="ran=1">']
MANY = 100_000


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "Chromium and chromedriver are not on this machine"
        if os.environ.get("JAXLOSS_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """180 pictures, ten of them with a wrong label, and labels that are code."""
    rng = np.random.default_rng(0)
    truth = np.arange(180) % 3
    labels = np.where(np.arange(180) < 10, (truth + 1) % 3, truth)
    logits = 5 * np.eye(3)[truth] + rng.normal(size=(180, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return report.write(
        tmp_path_factory.mktemp("small"),
        labels=labels,
        probabilities=probabilities,
        images=rng.random((180, 12, 12)) * (truth[:, None, None] + 1) / 3,
        text=[f"<b>sentence</b> {i} & so on" for i in range(180)],
        ids=[f"file_{i:03}.png" for i in range(180)],
        class_names=NAMES,
        metadata={"site": np.where(np.arange(180) < 20, "</script>", "Graz")},
        title="Audit of <i>three</i> classes",
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    rng = np.random.default_rng(0)
    return report.write(
        tmp_path_factory.mktemp("large"),
        labels=rng.integers(0, 50, MANY),
        scores=rng.random(MANY),
        suspects=np.arange(MANY) % 10 == 0,
        suggested=rng.integers(0, 50, MANY),
        losses=rng.exponential(size=MANY),
        ids=[f"sample {i}" for i in range(MANY)],
    )


def opened(browser, page):
    """Opens the page, waits for its charts, and gives what it asked for and said."""
    for log in ("browser", "performance"):
        browser.get_log(log)  # of the page before
    browser.get(page.as_uri())
    ready = "return document.documentElement.dataset.ready"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(ready))
    events = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")
    ]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def rows(browser, key):
    """One column of the table as it is shown."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#body tr')].map("
        "(row) => row.querySelector(`td[data-label='${arguments[0]}']`).innerText)",
        key,
    )


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def count(browser):
    return browser.find_element(By.ID, "count").text


def settled(browser, wanted):
    WebDriverWait(browser, 30).until(lambda _: count(browser) == wanted)


def screenshot(browser, name, width=1280):
    """The whole page, as tall as it is."""
    metrics = {"width": width, "deviceScaleFactor": 1, "mobile": width < 600}
    command = "Emulation.setDeviceMetricsOverride"
    browser.execute_cdp_cmd(command, {**metrics, "height": 1000})
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.execute_cdp_cmd(command, {**metrics, "height": min(height, 8000)})
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return wide


def test_the_page_is_drawn_without_a_word_on_the_console(browser, small):
    requests = opened(browser, small)
    assert [url for url in requests if not url.startswith("data:")] == [small.as_uri()]
    assert browser.get_log("browser") == []
    for chart in ("map", "losses", "confusion"):
        assert browser.find_elements(By.CSS_SELECTOR, f"#{chart}-chart svg.main-svg")
    assert len(rows(browser, "Rank")) == 25
    assert count(browser) == "1–25 of 180 samples"
    images = "return [...document.images].every((i) => i.complete && i.naturalWidth)"
    assert browser.execute_script(images)
    screenshot(browser, "light")
    click(browser, "#theme")
    screenshot(browser, "dark")
    assert browser.get_log("browser") == []


def test_what_the_data_says_is_shown_and_not_run(browser, small):
    opened(browser, small)
    assert browser.execute_script("return window.ran") is None
    assert (
        browser.find_element(By.TAG_NAME, "h1").text == "Audit of <i>three</i> classes"
    )
    assert set(rows(browser, "Given")) == set(NAMES)
    assert rows(browser, "Text")[0].startswith("<b>sentence</b>")
    assert "</script>" in rows(browser, "site")
    drawn = browser.find_element(By.ID, "losses-chart").text
    assert "<script>window.ran" in drawn
    choices = Select(browser.find_element(By.ID, "given")).options
    assert [option.text for option in choices][1:] == [
        f"{NAMES[2]} (60)",
        f"{NAMES[1]} (61)",
        f"{NAMES[0]} (59)",
    ]
    assert len(browser.find_elements(By.CSS_SELECTOR, "main script, main b")) == 0


def test_filters_choose_rows_together_and_can_be_taken_back(browser, small):
    opened(browser, small)
    click(browser, "#suspects")
    assert count(browser) == "1–10 of 10 samples, chosen from 180"
    assert sorted(rows(browser, "Sample")) == [f"file_{i:03}.png" for i in range(10)]
    Select(browser.find_element(By.ID, "given")).select_by_value("1")
    assert set(rows(browser, "Given")) == {NAMES[1]}
    assert set(rows(browser, "Suggested")) == {NAMES[0]}
    query = browser.find_element(By.ID, "query")
    query.send_keys("sentence 9")
    settled(browser, "1–1 of 1 samples, chosen from 180")
    assert rows(browser, "Sample") == ["file_009.png"]
    query.send_keys(" of which there is none")
    settled(browser, "0 of 180 samples")
    assert browser.find_element(By.ID, "empty").is_displayed()
    click(browser, "#clear")
    settled(browser, "1–25 of 180 samples")


def test_pairs_points_and_cells_lead_to_their_samples(browser, small):
    opened(browser, small)
    emit = "document.getElementById(arguments[0]).emit('plotly_click', arguments[1])"
    browser.execute_script(emit, "map-chart", {"points": [{"customdata": 60}]})
    assert count(browser) == "51–75 of 180 samples"
    assert browser.find_element(By.CSS_SELECTOR, ".mark").text.startswith("61")
    browser.execute_script(emit, "confusion-chart", {"points": [{"x": 0, "y": 1}]})
    assert set(rows(browser, "Given")) == {NAMES[1]}
    assert set(rows(browser, "Suggested")) == {NAMES[0]}
    click(browser, "button[data-given]")
    given, suggested = set(rows(browser, "Given")), set(rows(browser, "Suggested"))
    assert len(given) == len(suggested) == 1 and given != suggested
    assert browser.find_element(By.ID, "suspects").is_selected()


def test_columns_sort_both_ways_by_mouse_and_by_key(browser, small):
    opened(browser, small)
    click(browser, "button[data-key=loss]")
    falling = [float(loss) for loss in rows(browser, "Loss")]
    assert falling == sorted(falling, reverse=True)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    rising = [float(loss) for loss in rows(browser, "Loss")]
    assert rising == sorted(rising) and rising[0] < falling[-1]
    head = browser.find_element(By.CSS_SELECTOR, "th[aria-sort]")
    assert head.text.startswith("Loss")
    assert head.get_attribute("aria-sort") == "ascending"
    click(browser, "button[data-key=sample]")
    assert rows(browser, "Sample") == [f"file_{i:03}.png" for i in range(25)]


def test_the_gallery_shows_the_same_samples(browser, small):
    opened(browser, small)
    click(browser, "[value=gallery]")
    cards = browser.find_elements(By.CSS_SELECTOR, "#gallery li")
    assert len(cards) == 25
    assert rows(browser, "Rank") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, "#gallery img")) == 25
    screenshot(browser, "gallery")


def test_on_paper_the_charts_are_light_and_fit(browser, small):
    opened(browser, small)
    click(browser, "#theme")
    paper = browser.execute_script(
        "window.dispatchEvent(new Event('beforeprint'));"
        "const root = document.documentElement;"
        "const chart = document.getElementById('map-chart');"
        "const seen = [root.dataset.theme, chart._fullLayout.width];"
        "window.dispatchEvent(new Event('afterprint'));"
        "return [...seen, root.dataset.theme, chart._fullLayout.width];"
    )
    assert paper[:3] == ["light", 680, "dark"] and paper[3] > 1000


def test_a_narrow_window_has_no_overflow(browser, small):
    opened(browser, small)
    assert screenshot(browser, "narrow", width=390) == 390


def test_a_hundred_thousand_rows_are_sorted_filtered_and_turned(browser, large):
    opened(browser, large)
    assert browser.get_log("browser") == []
    assert count(browser) == "1–25 of 100,000 samples"
    click(browser, "#last")
    assert rows(browser, "Rank")[-1].endswith("100000")
    Select(browser.find_element(By.ID, "size")).select_by_visible_text("250")
    assert len(rows(browser, "Rank")) == 250
    click(browser, "button[data-key=loss]")
    falling = [float(loss) for loss in rows(browser, "Loss")]
    assert falling == sorted(falling, reverse=True)
    click(browser, "button[data-key=sample]")
    assert rows(browser, "Sample")[:3] == ["sample 0", "sample 1", "sample 2"]
    click(browser, "#suspects")
    assert count(browser) == "1–250 of 10,000 samples, chosen from 100,000"
    browser.find_element(By.ID, "query").send_keys("sample 9999")
    settled(browser, "1–1 of 1 samples, chosen from 100,000")
    nodes = "return document.querySelectorAll('#samples *').length"
    assert browser.execute_script(nodes) < 10_000
    screenshot(browser, "large")
    assert browser.get_log("browser") == []
