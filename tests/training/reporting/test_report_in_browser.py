"""The report in a browser: it is readable on wide and narrow windows and loads nothing but itself."""

import shutil

import pytest


@pytest.mark.slow
def test_a_browser_shows_it_without_the_network(report):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    messages, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        window = browser.new_page(viewport={"width": 1100, "height": 800})
        window.on("console", lambda message: messages.append((message.type, message.text)))
        window.on("pageerror", lambda error: messages.append(("error", str(error))))
        window.on("request", lambda request: requests.append(request.url))
        window.goto(report.as_uri())
        window.wait_for_load_state("networkidle")
        images = window.eval_on_selector_all(
            "img", "all => all.map(i => [i.alt, i.naturalWidth, i.getBoundingClientRect().width, i.height])"
        )
        plots = window.locator("img[src^='data:image/svg+xml']").count()
        headline = window.locator("header").inner_text()
        options_shown = [window.locator("details table").first.is_visible()]
        window.locator("summary").click()
        options_shown.append(window.locator("details table").first.is_visible())
        overflow = {}
        for width in (320, 390, 1100):
            window.set_viewport_size({"width": width, "height": 800})
            overflow[width] = window.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        browser.close()

    assert not [message for message in messages if message[0] in ("warning", "error")]
    assert requests == [report.as_uri()]
    assert plots == 7 and len(images) == 10
    assert all(natural > 0 and width > 50 and height > 50 for _, natural, width, height in images), images
    assert "0.773\nmAP 11-point" in headline
    assert options_shown == [False, True]
    assert max(overflow.values()) <= 0, overflow
