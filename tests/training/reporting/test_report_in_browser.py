"""The report in a browser: it is readable on wide and narrow windows and loads nothing but itself."""

import pytest


@pytest.mark.slow
def test_a_browser_shows_it_without_the_network(browse, report):
    with browse(report) as window:
        assert window.locator("img").count() == 10
        assert window.locator("img[src^='data:image/svg+xml']").count() == 7
        assert "0.773\nmAP 11-point" in window.locator("header").inner_text()
        options = window.locator("details table").first
        assert not options.is_visible()
        window.locator("summary").click()
        assert options.is_visible()
