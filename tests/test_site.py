"""The site as a browser shows it: `make docs`, then every page in Chromium, as a file and without a network.

    pip install playwright
    playwright install chromium      # or CHROMIUM=/path/of/a/browser

Skipped where there is no browser.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
NAMES = "chromium", "chromium-browser", "google-chrome", "chrome"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built anew; warnings fail."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync.sync_playwright() as playwright:
        if not (path or Path(playwright.chromium.executable_path).exists()):
            pytest.skip("there is no Chromium; `playwright install chromium` gets one")
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


class Links(HTMLParser):
    """The targets of links and sources of a page, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors = set(), {"", "__search"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.targets |= {found[name] for name in ("href", "src") if found.get(name)} if tag != "base" else set()


def pages_of(site):
    """All but the page for wrong addresses, which is written for a server."""
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_no_link_is_dead(site):
    """Files and anchors within the site."""
    pages = {path.resolve(): Links(path) for path in pages_of(site)}
    assert len(pages) > 40
    for page, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = there / "index.html" if there.is_dir() else there
            assert there.exists(), f"{page.name} leads to {target}"
            if there in pages and parts.fragment:
                assert unquote(parts.fragment) in pages[there].anchors, f"{page.name} leads to {target}"


def opened(browser, path, width=1100, scheme="light"):
    """(a page that is loaded, what went wrong): errors of scripts, and requests that leave the folder."""
    page, wrong = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda r: wrong.append(r.url) if urlsplit(r.url).scheme not in ("file", "data") else None)
    page.goto(path.as_uri())
    return page, wrong


def test_pages_load_without_errors_and_fit_a_phone(site, browser):
    """At 360 points nothing but boxes that scroll is wider than the page."""
    for path in pages_of(site):
        page, wrong = opened(browser, path, width=360)
        assert not wrong, f"{path.name}: {wrong}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path.name
        page.close()


@pytest.mark.parametrize("word, address", [("zebra", None), ("Fokker", "theory/"), ("unipc", "methods")])
def test_search_answers(site, browser, word, address):
    page, wrong = opened(browser, site / "index.html")
    page.locator(".md-search__input").focus()
    page.wait_for_function("/start/.test(document.querySelector('.md-search-result__meta').innerText)")
    page.keyboard.type(word)
    page.wait_for_function("/match/.test(document.querySelector('.md-search-result__meta').innerText)")
    found = page.eval_on_selector_all(".md-search-result__link", "links => links.map(link => link.href)")
    assert any(address in link for link in found) if address else not found
    assert not wrong
    page.close()


def test_formulas_are_drawn(site, browser):
    page, _ = opened(browser, site / "theory" / "reversal.html")
    sizes = page.eval_on_selector_all("math", "all => all.map(m => m.getBoundingClientRect().height)")
    assert len(sizes) > 20 and min(sizes) > 5 and not page.query_selector("merror")
    assert not re.search(r"\\[a-z]+\{|\$\$", page.inner_text("article"))
    page.close()


def test_light_and_dark(site, browser):
    """The page follows the reader's setting, and the button changes it."""
    for scheme, name in (("light", "default"), ("dark", "slate")):
        page, _ = opened(browser, site / "index.html", scheme=scheme)
        assert page.get_attribute("body", "data-md-color-scheme") == name
        page.click("form[data-md-component=palette] label:visible")
        assert page.get_attribute("body", "data-md-color-scheme") != name
        page.close()
