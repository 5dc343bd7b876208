"""The end of a run: the finished detector, pictures of its detections, the report and the table of results."""

import contextlib
from collections.abc import Sequence

from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_atomically
from keras_frcnn.network.model import FasterRCNN
from training.reporting.detection_pictures import write_pictures
from training.reporting.report import write_report
from training.reporting.summary import TrainingResult, summary_table
from training.run.start import Run, detection_directory, feature_folder
from training.run.stores.detections import detect_dataset
from training.run.stores.features import delete_features


def finish(run: Run, model: FasterRCNN, results: Sequence[TrainingResult]) -> None:
    """Write what the run folder does not hold yet, and print the results.  Only the chief calls it.

    `results` are those of all steps, in order; `model` is the detector after the last one.
    """
    _write_model(run, model)
    if not (run.folder / "report.html").is_file():
        with naming_undecodable(run.val_set):
            _write_report(run, model, results)
    print(summary_table(results))
    print(f"model:    {run.folder / 'model.keras'}")
    print(f"pictures: {run.folder / 'evaluation' / 'pictures'}")
    print(f"report:   {run.folder / 'report.html'}")


def _write_model(run: Run, model: FasterRCNN) -> None:
    """Write the finished detector in float32, whatever it was trained in, and delete the stored features."""
    path = run.folder / "model.keras"
    if not path.is_file():
        final = FasterRCNN(run.config, model.class_names, seed=run.options.seed)
        final.set_weights(model.get_weights())
        write_atomically(path, final.save)
    with contextlib.suppress(OSError):  # the detector is finished: features that stay only take up space
        delete_features(feature_folder(run))


def _write_report(run: Run, model: FasterRCNN, results: Sequence[TrainingResult]) -> None:
    dataset, directory = run.val_set, detection_directory(run, results[-1].name)
    detections = detect_dataset(model, dataset, directory, "detections")  # reads what `measure_detector` stored
    ap = results[-1].ap
    if ap is None:  # an earlier process measured it
        ap = evaluate_voc(dataset.examples, detections, dataset.class_names)
    write_pictures(dataset, detections, run.folder / "evaluation" / "pictures")
    write_report(run.folder, results, dataset, detections, ap)
