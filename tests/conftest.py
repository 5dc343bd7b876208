"""Shared by all tests: no accelerator, quiet logs, one small detector and one small VOC tree."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

# `make test-gpu` sets this variable. All other tests run on the CPU, whatever the machine has.
if os.environ.get("KERAS_FRCNN_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis
import numpy as np
import pytest

# A busy machine must not make a test fail.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

CLASS_NAMES = ("cat", "dog", "hen")
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keras_frcnn", "training", "export")


def runnable_modules() -> list[str]:
    """The names of the modules that `python -m` runs."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    runnable = [path for path in paths if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in runnable]


def pytest_generate_tests(metafunc):
    """A test that takes `runnable_module` runs once for each of them."""
    if "runnable_module" in metafunc.fixturenames:
        metafunc.parametrize("runnable_module", runnable_modules())


@pytest.fixture(scope="session")
def command_lines():
    """The names of the modules that `python -m` runs."""
    return runnable_modules()


@pytest.fixture(autouse=True)
def progress_bars_are_shown(monkeypatch):
    """A command line that a test calls with --quiet hides the bars of its whole process: show them again."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


@pytest.fixture(scope="session")
def serve_folder():
    """`with serve_folder(folder) as address`: a web server with the files of a folder, which prints nothing."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    @contextlib.contextmanager
    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()

    return serve


@pytest.fixture(scope="session")
def small_config():
    """A detector that sees the objects of pictures of about 64 x 96 pixels, in milliseconds."""
    from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig, ImageConfig, RPNConfig, TestConfig

    return DetectorConfig(
        anchors=AnchorConfig(scales=(16.0, 32.0)),
        image=ImageConfig(short_side=64, long_side=128),
        rpn=RPNConfig(channels=32, min_size=4.0, train_post_nms_topk=50),
        head=HeadConfig(fc_units=32, batch_size=32),
        test=TestConfig(pre_nms_topk=100, post_nms_topk=40, max_detections=20),
    )


@pytest.fixture(scope="session")
def make_model(small_config):
    """Build a small detector whose random scores lie far apart: near-ties would turn on rounding."""
    import keras

    from keras_frcnn.network.model import FasterRCNN

    def make(seed=0, dtype="float32", config=small_config):
        keras.utils.set_random_seed(seed)  # the same test values in every run, the backbone's too
        model = FasterRCNN(config, CLASS_NAMES, seed=seed, dtype=dtype)
        for layer in (model.rpn.scores, model.head.class_logits):
            layer.kernel.assign(layer.kernel * 20.0)
        return model

    return make


@pytest.fixture(scope="session")
def model(make_model):
    """A small detector, shared: a test that changes weights makes its own."""
    return make_model()


@pytest.fixture(scope="session")
def saved(model, tmp_path_factory):
    """The file of the small detector, whose classes are cat, dog and hen."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def run_here():
    """A function that calls the `main` of a command line in this process and gives its exit status."""

    def run(main, *arguments):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            return exit_.code or 0
        return 0

    return run


@pytest.fixture(scope="session")
def _load_once():
    """`load_finder` that loads and traces each model once for all tests."""
    from keras_frcnn.api.bulk.model import load_finder

    load = functools.cache(lambda path, _: load_finder(path))
    return lambda path: load(path, os.path.exists(path) and os.stat(path).st_mtime_ns)


@pytest.fixture
def detect(run_here, _load_once, monkeypatch):
    """`keras_frcnn.detect` as a function of its arguments that gives the exit status.

    A command that runs in a process of its own loads its model itself.
    """
    from keras_frcnn.api.bulk import model
    from keras_frcnn.detect import main

    monkeypatch.setattr(model, "load_finder", _load_once)
    return functools.partial(run_here, main)


@pytest.fixture(scope="session")
def browse():
    """A context manager that opens a page in Chromium, and at its end holds it to what is asked of every page.

    There is no message of the browser, nothing else is loaded, nothing is wider than a wide or a narrow window, and all
    pictures show.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--disable-sync", "--no-first-run"]

    @contextlib.contextmanager
    def browse(path):
        messages, requests = [], []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            window = browser.new_page(viewport={"width": 1280, "height": 800})
            window.on("console", lambda message: messages.append((message.type, message.text)))
            window.on("pageerror", lambda error: messages.append(("error", str(error))))
            window.on("request", lambda request: requests.append(request.url))
            window.goto(path.as_uri())
            window.wait_for_load_state("networkidle")
            yield window
            overflow, hidden = {}, {}
            for width in (320, 390, 1280):
                window.set_viewport_size({"width": width, "height": 800})
                overflow[width] = window.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                hidden[width] = window.eval_on_selector_all(
                    "img", "all => all.filter(i => !i.naturalWidth || Math.min(i.width, i.height) < 30).map(i => i.alt)"
                )
            browser.close()
        assert not [message for message in messages if message[0] in ("warning", "error")]
        assert requests == [path.as_uri()]
        assert max(overflow.values()) <= 0, overflow
        assert not any(hidden.values()), hidden

    return browse


@pytest.fixture(scope="session")
def make_batch():
    """Build a training batch of random images of the given sizes, padded with zeros, two objects in each."""
    import tensorflow as tf

    from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals, StoredFeatures

    def make(sizes, seed=0, first_position=0):
        sizes = np.array(sizes, np.int32)
        count, (height, width) = len(sizes), sizes.max(axis=0)
        images = np.zeros((count, height, width, 3), np.float32)
        boxes = np.tile(np.float32([[4, 6, 36, 40], [20, 30, 48, 60]]), (count, 1, 1))
        proposals = np.zeros((count, 12, 4), np.float32)
        for row, (h, w) in enumerate(sizes):
            rng = np.random.default_rng([seed, first_position + row])
            images[row, :h, :w] = rng.normal(0.0, 60.0, (h, w, 3))
            top_left = rng.uniform(0, 24, (12, 2))
            proposals[row] = np.concatenate([top_left, top_left + rng.uniform(8, 24, (12, 2))], axis=-1)
        positions = first_position + np.arange(count)
        return Batch(
            images=tf.constant(images),
            image_sizes=tf.constant(sizes),
            original_sizes=tf.constant(sizes),
            image_ids=tf.constant([f"picture{position}" for position in positions]),
            seeds=tf.constant(np.stack([np.full(count, seed), positions], axis=-1), tf.int32),
            ground_truth=GroundTruth(
                tf.constant(boxes), tf.constant([[1, 2]] * count), tf.constant([[True, True]] * count)
            ),
            proposals=Proposals(tf.constant(proposals), tf.ones((count, 12)), tf.constant(np.ones((count, 12), bool))),
            features=StoredFeatures(tf.zeros((count, 0, 0, 512)), tf.zeros(count, tf.bool)),
        )

    return make


@pytest.fixture(scope="session")
def denormalise():
    """A function from the network's input (..., 3) to RGB values (..., 3) int: the inverse of `normalise`."""
    from keras_frcnn.data.pictures.images import CHANNEL_MEANS_BGR

    return lambda image: np.rint((np.asarray(image) + CHANNEL_MEANS_BGR)[..., ::-1]).astype(int)


@pytest.fixture(scope="session")
def stored_turned():
    """A function (PIL image, EXIF orientation) -> (the image as a camera stores it, its EXIF data).

    A viewer that applies the orientation shows the image that was given.
    """
    from PIL import Image, ImageOps

    def store(shown, orientation):
        exif, inverse = Image.Exif(), shown.copy()
        exif[0x0112] = orientation
        inverse.getexif()[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)
        return ImageOps.exif_transpose(inverse), exif

    return store


@pytest.fixture(scope="session")
def voc_tree(tmp_path_factory):
    """A VOC tree of drawn scenes, 4 pictures to train on and 2 to measure on, 64 x 96 pixels; not to be changed."""
    from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

    directory = tmp_path_factory.mktemp("voc") / "tree"
    write_synthetic(directory, {"train": 4, "val": 2}, seed=0, size=(64, 96))
    return directory


@pytest.fixture
def gpu_kernels(monkeypatch):
    """Replace the kernels that differ on a GPU by numpy versions with the GPU's rules; for eager code.

    Sources: tensorflow/core/kernels/image/non_max_suppression_op.cu.cc (DoNMS, NonMaxSuppressionV4GPUOp), and CUDA's
    fmaxf and fminf, which ignore a NaN.
    """
    import tensorflow as tf

    def over(a, b, threshold):
        """Whether the IoU of two boxes is over `threshold`, by a product: the kernel does not divide."""
        sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
        area_a, area_b = np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])
        intersection = np.prod(sides)
        return area_a != 0 and area_b != 0 and intersection > (area_a + area_b - intersection) * threshold

    def non_max_suppression(
        boxes, scores, max_output_size, iou_threshold, score_threshold, pad_to_max_output_size=False
    ):
        assert pad_to_max_output_size
        boxes, scores, threshold = np.float32(boxes), np.float32(scores), np.float32(iou_threshold)
        assert np.all(np.isfinite(boxes)), "the kernels treat NaN and infinite corners in different ways"
        uninitialised = np.full(max_output_size, 2**30, np.int32)
        if not len(scores):
            return tf.constant(uninitialised[0]), tf.constant(2**30)  # it allocates a scalar, and sets neither output
        order = np.argsort(-scores, kind="stable")
        if score_threshold > np.finfo(np.float32).min:  # any other threshold is ignored
            order = order[: np.sum(scores > score_threshold)]
            if not len(order):
                return tf.constant(uninitialised), tf.constant(0)
        kept = []
        for i in order:
            if not any(over(boxes[j], boxes[i], threshold) for j in kept):
                kept.append(i)
        kept = kept[:max_output_size]
        padded = np.int32(kept + [0] * (max_output_size - len(kept)))
        return tf.constant(padded), tf.constant(len(kept))

    monkeypatch.setattr(tf.raw_ops, "NonMaxSuppressionV4", non_max_suppression)
    monkeypatch.setattr(tf, "maximum", lambda x, y: tf.constant(np.fmax(x, y)))
    monkeypatch.setattr(tf, "minimum", lambda x, y: tf.constant(np.fmin(x, y)))
