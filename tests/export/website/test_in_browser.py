"""The web page in a real browser: it finds what the TFLite interpreter finds, with the network cut as well.

Needs Chromium, and npm with its registry.
"""

import shutil

import numpy as np
import pytest
from PIL import Image

from export.web import parse_arguments
from export.website.build import run
from export.website.runtime import fetch_runtime
from keras_frcnn.api.exports.tflite import tflite_asker
from keras_frcnn.data.pictures.images import resize_picture
from keras_frcnn.facts.errors import InputError

pytestmark = pytest.mark.slow

# Asks a worker of the page's own for all detections of a picture, without rounding.
ASK = """async (address) => {
  const settings = await (await fetch("model.json")).json();
  const worker = new Worker("worker.js");
  const answer = (message) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.type === "problem") reject(new Error(data.message));
      if (data.type === "ready" || data.type === "found") resolve(data);
    };
    worker.postMessage(message);
  });
  await answer({ type: "load", settings });
  const found = [];
  for (const one of address) {
    const content = Uint8Array.from(atob(one), (letter) => letter.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([content]), { colorSpaceConversion: "none" });
    found.push((await answer({ type: "detect", id: 0, picture })).found);
  }
  worker.terminate();
  return found;
}"""
RESIZE = """async ([rgba, width, height, newWidth, newHeight]) => {
  const { resize } = await import("./detector.js");
  return Array.from(resize(new Uint8ClampedArray(rgba), width, height, newWidth, newHeight));
}"""


@pytest.fixture(scope="module")
def site(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    try:
        fetch_runtime()
    except InputError as error:
        pytest.skip(f"LiteRT.js cannot be fetched: {error}")
    run(parse_arguments(["--model", str(exported), "--out", str(folder)]))
    return folder


@pytest.fixture(scope="module")
def address(serve_folder, site):
    with serve_folder(site) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def context(address):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    arguments += ["--disable-component-update", "--no-first-run", "--use-fake-device-for-media-stream"]
    arguments += ["--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser.new_context(viewport={"width": 1000, "height": 900})
        browser.close()


@pytest.fixture
def page(context, address):
    """The page, ready to take a picture; at its end, the browser has had nothing to complain of."""
    messages, requests = [], []
    window = context.new_page()
    window.on("console", lambda message: messages.append((message.type, message.text)))
    window.on("pageerror", lambda error: messages.append(("error", str(error))))
    window.on("request", lambda request: requests.append(request.url))
    window.goto(address)
    window.wait_for_selector("#choose:not([hidden])", timeout=60_000)
    yield window
    window.close()
    no_gpu = "Failed to create default WebGPU device"  # LiteRT.js looks for one even if it is not to use it
    messages = [one for one in messages if one[0] in ("warning", "error") and not one[1].startswith(no_gpu)]
    assert not messages
    assert all(url.startswith((address, "blob:")) for url in requests), requests


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten pictures of other sizes than the model's."""
    folder, paths = tmp_path_factory.mktemp("photos"), []
    for number in range(10):
        random = np.random.default_rng(number)
        size = random.integers(40, 300, 2)
        small = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
        paths.append(folder / f"{number}.png")
        small.resize(size.tolist(), Image.Resampling.NEAREST).save(paths[-1])
    return paths


def encoded(paths):
    import base64

    return [base64.b64encode(path.read_bytes()).decode() for path in paths]


def test_it_finds_what_the_interpreter_finds(page, exported, photos):
    found = page.evaluate(ASK, encoded(photos))
    ask, names = tflite_asker(exported), ("cat", "dog", "hen")
    count = 0
    for path, ours in zip(photos, found, strict=True):
        picture = np.asarray(Image.open(path))
        theirs = ask(picture)
        assert [one["class"] for one in ours] == theirs.classes.tolist()
        assert [one["label"] for one in ours] == [names[number - 1] for number in theirs.classes]
        np.testing.assert_allclose([one["score"] for one in ours], theirs.scores, atol=1e-3)
        size = np.array(picture.shape[:2] * 2)
        np.testing.assert_allclose(
            np.array([one["box"] for one in ours]).reshape(-1, 4) / size, theirs.boxes, atol=1e-3
        )
        count += len(ours)
    assert count > 30


@pytest.mark.parametrize(
    ("size", "new"), [((7, 11), (16, 16)), ((50, 31), (17, 23)), ((1, 1), (3, 2)), ((9, 8), (9, 8))]
)
def test_pictures_are_resized_as_in_training(page, size, new):
    picture = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)
    rgba = np.concatenate([picture, np.full((*size, 1), 255, np.uint8)], axis=2)
    ours = page.evaluate(RESIZE, [rgba.ravel().tolist(), size[1], size[0], new[1], new[0]])
    np.testing.assert_array_equal(np.array(ours).reshape(*new, 3), resize_picture(picture, new).numpy())


def test_a_picture_is_shown_with_its_detections(page, photos, context):
    page.set_input_files("#file", photos[0])
    page.wait_for_selector("#time:has-text('found')")
    page.locator("#score").fill(page.locator("#score").get_attribute("min"))
    scores = [float(text) for text in page.locator("#rows tr td:nth-child(2)").all_inner_texts()]
    with Image.open(photos[0]) as picture:
        assert page.evaluate("[canvas.width, canvas.height]") == list(picture.size)
    for least in ("0.30", "0.70"):
        page.locator("#score").fill(least)
        assert page.locator("#rows tr").count() == sum(score >= float(least) for score in scores)
        assert 0 < page.locator("#rows tr").count() < len(scores)
        assert page.locator("#score-shown").inner_text() == least
    for width in (1000, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_what_is_no_picture_is_said_and_the_next_one_works(page, photos, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "notes.png")
    page.wait_for_selector("text=notes.png is not a picture that this browser can read.")
    page.set_input_files("#file", photos[1])
    page.wait_for_selector("#time:has-text('found')")
    assert not page.locator("#status").is_visible()


def test_the_camera_starts_and_stops(page):
    page.click("#camera")
    page.wait_for_selector("#time:has-text('found')")
    assert page.locator("#camera").inner_text() == "Stop the camera"
    page.click("#camera")
    assert page.locator("#camera").inner_text() == "Use the camera"
    assert page.evaluate("video.srcObject.getTracks().every((track) => track.readyState === 'ended')")


def test_it_uses_threads_and_works_with_the_network_cut(page, context, address, photos):
    assert page.evaluate("self.crossOriginIsolated") and page.locator("body").get_attribute("data-threads") == "true"
    context.set_offline(True)
    try:
        page.reload()
        page.wait_for_selector("#choose:not([hidden])", timeout=60_000)
        page.set_input_files("#file", photos[2])
        page.wait_for_selector("#time:has-text('found')")
    finally:
        context.set_offline(False)
