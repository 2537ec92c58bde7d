"""Tests of the page of `serve` in a real browser: what it shows, and that no pasted text becomes markup."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.integration.test_serve import INSULIN_A, INSULIN_B, UBIQUITIN, started, stopped

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: no browser to drive")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]


class Page:
    """The page in a browser."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def text(self, name: str) -> str:
        return str(self.driver.find_element("id", name).text)

    def score(self, a: str, b: str = "") -> None:
        """Fills in both fields and waits for the answer."""
        from selenium.webdriver.support.ui import WebDriverWait

        for name, text in (("a", a), ("b", b)):
            self.driver.execute_script(
                "document.getElementById(arguments[0]).value = arguments[1]", name, text
            )
        button = self.driver.find_element("id", "score")
        button.click()
        WebDriverWait(self.driver, 60).until(lambda _: button.is_enabled())

    def rows(self) -> list[list[str]]:
        """The names of the pairs in the table."""
        rows = self.driver.find_elements("css selector", "#rows tr")
        return [[cell.text for cell in row.find_elements("tag name", "td")][:2] for row in rows]


@pytest.fixture(scope="module")
def page(client: mlflow.MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    del client
    folder = tmp_path_factory.mktemp("browser")
    served = started(folder)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"):
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(served.url)
        yield Page(driver, folder)
    finally:
        driver.quit()
        stopped(served, signal.SIGTERM)


def test_a_pair_shows_its_probability_and_its_residues(page: Page) -> None:
    page.score(INSULIN_A, f">B\n{INSULIN_B}")
    assert 0 < float(page.text("probability")) < 1
    assert "within the model's uncertainty" in page.text("range")
    assert page.text("residues").count("Most weight: ") == 2
    assert INSULIN_B in page.text("residues")
    assert page.rows() == [["protein_a", "B"]]


def test_several_pairs_are_listed_and_downloaded(page: Page) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    page.score(f">A\n{INSULIN_A}", f">B\n{INSULIN_B}\n>U\n{UBIQUITIN}")
    assert sorted(page.rows()) == [["A", "B"], ["A", "U"]]
    assert not page.driver.find_element("id", "single").is_displayed()
    page.driver.find_element("id", "download").click()
    table = page.downloads / "pairs.tsv"
    WebDriverWait(page.driver, 30).until(lambda _: table.exists())
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    assert header == ["protein_a", "protein_b", "probability", "logit", "uncertainty"]
    assert [row[:2] for row in rows] == page.rows()


def test_markup_in_names_is_shown_as_text(page: Page) -> None:
    names = ["<img/src=x/onerror=document.title='owned'>", "<script>document.title='owned'</script>"]
    page.score(f">{names[0]}\n{INSULIN_A}", f">{names[1]}\n{INSULIN_B}")
    assert page.rows() == [names]
    assert page.driver.title == "Do these proteins interact?"
    assert page.driver.find_elements("css selector", "img, main script") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "both fields are empty"),
        ("<b>x</b>", "not a protein sequence"),
        ("M" * 10_000_000, "1,000,000 bytes"),
    ],
    ids=["empty", "markup", "10 MB"],
)
def test_a_refusal_is_shown_as_text(page: Page, text: str, expected: str) -> None:
    page.score(text)
    assert expected in page.text("status")
    assert not page.driver.find_element("id", "result").is_displayed()


def test_nothing_is_asked_of_other_machines_and_no_script_is_blocked(page: Page) -> None:
    urls = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert {url.partition("/page")[0] for url in urls} == {page.driver.current_url.rstrip("/")}
    said = [entry["message"] for entry in page.driver.get_log("browser")]
    assert [message for message in said if "Failed to load resource" not in message] == []
