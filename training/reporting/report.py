"""A finished training run as one page, report.html: what came of it, how it was trained, where it is right and wrong.

The page holds all that it shows and asks nothing of the network.  It is well-formed XML as well as HTML, so that tests
can read it.  What users named, such as classes and pictures, stands in the page's text alone, escaped; plots have none.
"""

import base64
import datetime
import html
import io
import json
import math
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.util import tensor_util

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.evaluation.detections_record import ImageDetections
from keras_frcnn.evaluation.tables import AP_HEADER, ap_rows, class_recall_rows
from keras_frcnn.evaluation.voc_ap import ClassAP, VOCResult, judge_image
from keras_frcnn.facts.files import read_json, write_atomically
from keras_frcnn.data.images import decode_image
from keras_frcnn.api.drawing import MAX_ENLARGEMENT, MIN_SHORT_SIDE, SHOWN_SCORE, draw_detections
from training.reporting.summary import HEADER, summary_rows

SHOWN_PICTURES = 6  # of the best, and of the worst
SHOWN_IOUS = ("0.50", "0.70")  # of the recall tables and plots, as the evaluations name them
PICTURE_SIDE = 480  # the most pixels of a picture's longer side
CURVE_POINTS = 300  # the most that a training curve is drawn with
TRAINING_PLOTS = {  # how tags begin -> what is said above their plot
    "losses/": "losses",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "images_per_second": "images a second",
}

_DASH_LENGTH, _DASH_WIDTH = 6, 2  # pixels of a picture before it is scaled down
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by the colour-blind too
_PLOT_STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=_COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.0,
    "grid.alpha": 0.3,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "path.simplify_threshold": 0.4,  # pixels
    "svg.fonttype": "none",  # letters of the reader's system: a fifth of the size
    "svg.hashsalt": "report",  # the same bytes each time
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

Draw = Callable[[object], None]  # fills the matplotlib axes that it is given


class Curve(NamedTuple):
    """What was recorded under one tag, R records by ascending step, each step once."""

    steps: np.ndarray  # (R,) int64
    values: np.ndarray  # (R,) float64
    times: np.ndarray  # (R,) float64, seconds since 1970


class PictureJudgement(NamedTuple):
    """The shown detections of one picture against its objects; difficult objects and what lies on them left out."""

    position: int  # of the picture in the data set
    found: tuple[int, ...]  # the class of each object that a detection is right about
    missed: tuple[int, ...]  # the class of each other object
    wrong: tuple[int, ...]  # the class of each detection that is right about none

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + wrong); nan where there is nothing to count."""
        counted = 2 * len(self.found) + len(self.missed) + len(self.wrong)
        return 2 * len(self.found) / counted if counted else float("nan")


def write_report(
    folder: pathlib.Path,
    results: Sequence[dict],
    dataset: Dataset,
    detections: Iterable[ImageDetections],
    ap: VOCResult,
) -> pathlib.Path:
    """Write `folder/report.html` and give its path.

    `results` are the run's evaluations as its folder keeps them, in order; `detections` are the finished detector's on
    `dataset`, boxes in pixels of the stored pictures, and `ap` what they are worth.  A picture without a record has no
    detections.  Raises `tf.errors.InvalidArgumentError` for a picture to be shown that cannot be decoded.
    """
    folder = pathlib.Path(folder)
    configuration = read_json(folder / "config.json")
    curves = {result["name"]: read_curves(folder / "logs" / result["name"]) for result in results}
    records = {record.image_id: record for record in detections}
    in_order = [records.get(example.image_id) or _no_detections(example) for example in dataset.examples]

    sections = (
        _headline(configuration["options"], dataset, ap, curves),
        _trainings(results),
        _proposals(results),
        _classes(ap),
        _precision_recall(ap),
        _training_curves(results, curves),
        _pictures(dataset, in_order, ap.iou_threshold),
        _options(configuration),
    )
    page = _page(f"{configuration['options']['data']}: training report", "\n".join(sections))
    path = folder / "report.html"
    # A path that is no UTF-8 is among the options as lone surrogates, which no file can hold.
    write_atomically(path, lambda temporary: temporary.write_bytes(page.encode("utf-8", errors="replace")))
    return path


def read_curves(folder) -> dict[str, Curve]:
    """The scalars to be plotted that TensorBoard files in `folder` hold, by tag; none where there is no such folder.

    A training that went on from a checkpoint leaves several files that overlap: the newest value of a step counts.
    """
    if not pathlib.Path(folder).is_dir():
        return {}
    accumulator = EventAccumulator(str(folder), size_guidance={TENSORS: 0})  # 0: all records, not a sample of them
    accumulator.Reload()
    curves = {}
    for tag in accumulator.Tags()["tensors"]:
        if not tag.startswith(tuple(TRAINING_PLOTS)):  # pictures, too, are tensors
            continue
        newest = {}
        for event in sorted(accumulator.Tensors(tag), key=lambda event: event.wall_time):
            newest[event.step] = event
        events = [newest[step] for step in sorted(newest)]
        curves[tag] = Curve(
            steps=np.array([event.step for event in events], np.int64),
            values=np.array([tensor_util.make_ndarray(event.tensor_proto) for event in events], np.float64),
            times=np.array([event.wall_time for event in events], np.float64),
        )
    return curves


def judge_picture(position: int, example: Example, record: ImageDetections, iou_threshold: float) -> PictureJudgement:
    """Judge the detections of at least `SHOWN_SCORE` as PASCAL VOC does; classes ascending."""
    shown = np.asarray(record.scores) >= SHOWN_SCORE
    record = record._replace(boxes=record.boxes[shown], classes=record.classes[shown], scores=record.scores[shown])
    found, wrong = (classes.tolist() for classes in judge_image(example, record, iou_threshold))
    missed = Counter(example.classes[~example.difficult].tolist()) - Counter(found)
    return PictureJudgement(position, tuple(found), tuple(sorted(missed.elements())), tuple(wrong))


def choose_pictures(judgements: Iterable[PictureJudgement]) -> tuple[list[PictureJudgement], list[PictureJudgement]]:
    """The best and the worst pictures by F1, each first in its list; equal ones in the order of the data set.

    At most `SHOWN_PICTURES` each and none in both: of a few pictures one half is the best.  Pictures with nothing to
    count are in neither.
    """
    counted = [judgement for judgement in judgements if not math.isnan(judgement.f1)]
    by_worth = sorted(counted, key=lambda judgement: -judgement.f1)
    best = by_worth[: min(SHOWN_PICTURES, (len(counted) + 1) // 2)]
    chosen = {judgement.position for judgement in best}
    others = [judgement for judgement in counted if judgement.position not in chosen]
    return best, sorted(others, key=lambda judgement: judgement.f1)[:SHOWN_PICTURES]


def _no_detections(example: Example) -> ImageDetections:
    return ImageDetections(example.image_id, np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0))


# The sections of the page, each as text of HTML.


def _headline(options: dict, dataset: Dataset, ap: VOCResult, curves: dict[str, dict[str, Curve]]) -> str:
    times = [curve.times.max() for by_tag in curves.values() for curve in by_tag.values()]
    moment = datetime.datetime.fromtimestamp(max(times), datetime.UTC) if times else datetime.datetime.now(datetime.UTC)
    date = f'<time datetime="{moment:%Y-%m-%dT%H:%MZ}">{moment:%Y-%m-%d %H:%M} UTC</time>'
    objects = sum(entry.objects for entry in ap.classes)
    return f"""<header>
<h1>Faster R-CNN on {_text(options["data"])}</h1>
<p>{"Training ended" if times else "No time of training recorded; report written"} {date}.
Trained on {_text(options["train"])}, measured on {_text(dataset.name)}:
{ap.images} pictures, {objects} objects, {len(ap.classes)} classes.</p>
<ul class="figures">
<li><strong>{_number(ap.mean_11point)}</strong> mAP 11-point</li>
<li><strong>{_number(ap.mean_area)}</strong> mAP area</li>
</ul>
<p class="note">PASCAL VOC, IoU &gt; {ap.iou_threshold:g}; difficult objects not counted.</p>
</header>"""


def _trainings(results: Sequence[dict]) -> str:
    note = '<p class="note">recall@300: of the objects, by 300 proposals a picture, at IoU 0.5.</p>'
    return _section("Training", _table(HEADER, summary_rows(results, _number)) + note)


def _proposals(results: Sequence[dict]) -> str:
    parts = [_proposals_of(result["title"], result["recall"]) for result in results if "recall" in result]
    return _section("Recall of proposals", "\n".join(parts) or "<p>No proposals measured.</p>")


def _proposals_of(title: str, recall: dict) -> str:
    entries = recall["proposals"]
    columns = {f"IoU {iou}": [entry["recall"][iou] for entry in entries] for iou in SHOWN_IOUS}
    columns["IoU 0.50:0.95"] = [entry["average_recall"] for entry in entries]
    counts = [entry["count"] for entry in entries]

    def draw(axes):
        for label, values in columns.items():
            axes.plot(counts, _with_nan(values), marker="o", markersize=3, label=label)
        axes.set(xlabel="proposals a picture", ylabel="recall", xscale="log", ylim=(0, 1.03))
        axes.set_xticks(counts, list(map(str, counts)))
        axes.minorticks_off()
        axes.legend(loc="lower right")

    rows = [
        (str(entry["count"]), _number(entry["mean_proposals"], 1), *map(_number, values))
        for entry, values in zip(entries, zip(*columns.values(), strict=True), strict=True)
    ]
    note = f'<p class="note">{recall["objects"]} objects in {recall["images"]} pictures; IoU 0.50:0.95 is a mean.</p>'
    class_header, *class_rows = class_recall_rows(recall, _number)
    return f"""<h3>{_text(title)}</h3>
<div class="beside">
{_plot(f"Recall against the number of proposals, {title}", draw, (4.6, 2.7))}
<div>{_table(("proposals", "per image", *columns), rows)}{note}</div>
</div>
{_table(class_header, class_rows)}"""


def _classes(ap: VOCResult) -> str:
    *rows, mean = ap_rows(ap, _number)
    note = ""
    if ap.classes_without_objects:
        names = _text(", ".join(ap.classes_without_objects))
        note = f'<p class="note">Without objects, left out of the mean: {names}.</p>'
    table = _table(AP_HEADER, rows, mean)
    return _section("Average precision of each class", table + note)


def _precision_recall(ap: VOCResult) -> str:
    plots = "\n".join(
        _captioned(_precision_recall_of(entry), f"{_text(entry.class_name)} <b>{_number(entry.ap_11point)}</b>")
        for entry in ap.classes
    )
    note = '<p class="note">Beside each class its 11-point AP.</p>'
    return _section("Precision against recall", f'<div class="plots">\n{plots}\n</div>\n{note}')


def _precision_recall_of(entry: ClassAP) -> str:
    if not entry.objects:
        return '<p class="empty">no objects</p>'
    if not entry.detections:
        return '<p class="empty">no detections</p>'

    def draw(axes):
        axes.plot(entry.recall, entry.precision, marker="." if entry.detections == 1 else "")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))

    return _plot(f"Precision against recall, {entry.class_name}", draw, (2.9, 2.1))


def _training_curves(results: Sequence[dict], curves: dict[str, dict[str, Curve]]) -> str:
    parts = []
    for result in results:
        plots = "\n".join(_captioned(*plot) for plot in _training_plots(result["title"], curves[result["name"]]))
        shown = f'<div class="plots">\n{plots}\n</div>' if plots else "<p>No curves recorded.</p>"
        parts.append(f"<h3>{_text(result['title'])}</h3>\n{shown}")
    note = f'<p class="note">Of more than {CURVE_POINTS} records, each point is the mean of several.</p>'
    return _section("Training curves", "\n".join([*parts, note]))


def _training_plots(title: str, curves: dict[str, Curve]) -> list[tuple[str, str]]:
    """A plot and a caption for each quantity that was recorded."""
    return [
        (_plot(f"{caption} over steps, {title}", _curves_drawer(lines), (2.9, 2.1)), caption)
        for prefix, caption in TRAINING_PLOTS.items()
        if (lines := {tag.removeprefix(prefix): curve for tag, curve in curves.items() if tag.startswith(prefix)})
    ]


def _curves_drawer(lines: dict[str, Curve]) -> Draw:
    def draw(axes):
        for label, curve in lines.items():
            steps, values = _thinned(curve.steps), _thinned(curve.values)
            axes.plot(steps, values, label=label, marker="." if len(steps) < 20 else "")
        axes.set(xlabel="step")
        axes.set_ylim(bottom=0)
        if len(lines) > 1:
            axes.legend()

    return draw


def _thinned(values: np.ndarray) -> np.ndarray:
    """(R,) -> at most (CURVE_POINTS,), means of runs of neighbours about equally long."""
    parts = np.array_split(np.asarray(values, np.float64), min(len(values), CURVE_POINTS))
    return np.array([part.mean() for part in parts])


def _pictures(dataset: Dataset, records: Sequence[ImageDetections], iou_threshold: float) -> str:
    pairs = list(zip(dataset.examples, records, strict=True))
    best, worst = choose_pictures(
        judge_picture(position, example, record, iou_threshold) for position, (example, record) in enumerate(pairs)
    )
    parts = []
    for title, chosen in (("Best pictures", best), ("Worst pictures", worst)):
        shown = "\n".join(_picture(judgement, *pairs[judgement.position], dataset.class_names) for judgement in chosen)
        shown = f'<div class="pictures">\n{shown}\n</div>' if chosen else "<p>No pictures to show.</p>"
        parts.append(f"<h3>{title}</h3>\n{shown}")
    note = f"""<p class="note">Frames in colour: detections of score {SHOWN_SCORE} and more, with class and score.
Black and white dashes: true boxes; black and grey: difficult ones.<br />
Pictures are ranked by F1 = 2 found / (2 found + missed + wrong).  A detection finds an object of its class at
IoU &gt; {iou_threshold:g}; a second one on it is wrong; difficult objects, and detections on them, do not count.  Equal
ones stand in the order of the data set; pictures with nothing to count are left out; no picture is shown twice.</p>"""
    return _section("Pictures", "\n".join([note, *parts]))


def _picture(judgement: PictureJudgement, example: Example, record: ImageDetections, class_names) -> str:
    counts = ", ".join(
        f"{name} {len(classes)}{_named(classes, class_names) if name != 'found' else ''}"
        for name, classes in (("found", judgement.found), ("missed", judgement.missed), ("wrong", judgement.wrong))
    )
    drawn = draw_picture(example, record, class_names)
    _, encoded = cv2.imencode(".jpg", drawn[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))
    image = _image("image/jpeg", encoded.tobytes(), f"Picture {example.image_id} with its detections: {counts}")
    return _captioned(image, f"<b>{_text(example.image_id)}</b> F1 {judgement.f1:.2f}<br />{_text(counts)}")


def _named(classes: Sequence[int], class_names: Sequence[str]) -> str:
    """" (cat, 2 dog)"; nothing for no classes."""
    names = (f"{count if count > 1 else ''} {class_names[i - 1]}".strip() for i, count in Counter(classes).items())
    return f" ({', '.join(names)})" if classes else ""


def draw_picture(example: Example, record: ImageDetections, class_names: Sequence[str]) -> np.ndarray:
    """The picture, RGB uint8, no side over `PICTURE_SIDE`, with its true boxes dashed and its shown detections above.

    Raises `tf.errors.InvalidArgumentError` where it cannot be decoded.
    """
    image = decode_image(tf.io.read_file(example.image_path)).numpy()
    # One size for small and large pictures: that of the labels and frames that `draw_detections` puts on top.
    canvas = _resized(image, min(MIN_SHORT_SIDE / min(image.shape[:2]), MAX_ENLARGEMENT))
    scale = np.tile(np.divide(canvas.shape[:2], image.shape[:2]), 2)
    for box, difficult in zip(example.boxes * scale, example.difficult, strict=True):
        _draw_dashes(canvas, box, 150 if difficult else 255)
    shown = np.asarray(record.scores) >= SHOWN_SCORE
    boxes = record.boxes[shown] * scale
    drawn = draw_detections(canvas, boxes, record.classes[shown], record.scores[shown], class_names)
    return _resized(drawn, min(PICTURE_SIDE / max(drawn.shape[:2]), 1.0))


def _resized(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _draw_dashes(canvas: np.ndarray, box: np.ndarray, grey: int):
    """Draw a frame around the box, (4,) yxyx in the canvas' pixels, in black and `grey` by turns.

    Its lines lie outside of the box, where the frame of a detection does not hide them, but within the canvas.
    """
    outside = np.round(box).astype(int) + np.repeat((-_DASH_WIDTH, _DASH_WIDTH), 2)
    y0, x0, y1, x1 = np.clip(outside, 0, np.tile(canvas.shape[:2], 2))
    rows, columns = np.ogrid[y0:y1, x0:x1]
    colours = np.where((rows + columns) // _DASH_LENGTH % 2, 0, grey).astype(np.uint8)
    rows, columns = np.minimum(rows - y0, y1 - 1 - rows), np.minimum(columns - x0, x1 - 1 - columns)
    np.copyto(canvas[y0:y1, x0:x1], colours[..., None], where=(np.minimum(rows, columns) < _DASH_WIDTH)[..., None])


def _options(configuration: dict) -> str:
    tables = "\n".join(
        f"<h3>{title}</h3>\n{_table((title.lower(), 'value'), list(_flattened(configuration[key])))}"
        for title, key in (("Option", "options"), ("Detector", "detector"))
    )
    return f'<details class="options">\n<summary>Options of the run</summary>\n{tables}\n</details>'


def _flattened(values: dict, prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# The pieces that sections are made of.  What is called text is not HTML yet; everything else is.


def _text(text) -> str:
    return html.escape(str(text))


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _with_nan(values: Iterable[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{content}\n</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] = ()) -> str:
    """A table of texts; the first cell of each row names it."""

    def line(cells):
        first, *others = map(_text, cells)
        return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'

    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    foot = f"\n<tfoot>{line(footer)}</tfoot>" if footer else ""
    body = "\n".join(map(line, rows))
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{foot}\n</table></div>\n'
    )


def _captioned(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def _image(kind: str, encoded: bytes, alternative: str) -> str:
    data = base64.b64encode(encoded).decode("ascii")
    return f'<img alt="{_text(alternative)}" src="data:{kind};base64,{data}" />'


def _plot(alternative: str, draw: Draw, size: tuple[float, float]) -> str:
    """An image of the axes that `draw` fills; `size` is its width and height, 1 for 72 CSS points.

    As an image, not as part of the page: its ids and styles meet no others, and browsers load nothing for it.
    """
    with matplotlib.rc_context(_PLOT_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]  # without the address of a document type
    return _image("image/svg+xml", svg.encode("utf-8"), alternative)


_CSS = """
:root { color-scheme: light dark; --line: #d5d9de; --muted: #59636e; --card: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --muted: #9aa4af; --card: #1f2530; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
.note { color: var(--muted); font-size: .875rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; list-style: none; padding: 0; }
.figures li { background: var(--card); border-radius: .5rem; padding: .75rem 1.25rem; }
.figures strong { display: block; font-size: 2rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--muted); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0; }
.options td { text-align: left; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 1.25rem; font-weight: 600; margin-top: 2.5rem; }
figure { margin: 0; }
figcaption { font-size: .875rem; margin-top: .25rem; }
img { display: block; width: 100%; height: auto; border-radius: .375rem; }
img[src^="data:image/svg"] { background: #fff; }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
.beside > * { flex: 1 1 20rem; min-width: 0; max-width: 34rem; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
.plots figure { display: flex; flex-direction: column; }
.plots figcaption { order: -1; margin: 0 0 .25rem; }
.pictures { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
.pictures img { width: auto; max-width: 100%; }
.empty { color: var(--muted); background: var(--card); border-radius: .375rem; margin: 0; padding: 2rem 1rem; flex: 1; }
"""


def _page(title: str, content: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>{_text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
{content}
</body>
</html>
"""
