"""The end of a run: the finished detector, pictures of its detections, the report and the table of results."""

import contextlib
from collections.abc import Sequence

from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.facts.files import write_atomically
from keras_frcnn.network.model import FasterRCNN
from training.reporting.detection_pictures import write_pictures
from training.reporting.report import read_configuration, write_report
from training.reporting.summary import TrainingResult, summary_table
from training.run.options.declared import AlternationOptions
from training.run.start import Run, detection_directory, feature_folder
from training.run.stores.detections import detect_dataset
from training.run.stores.features import delete_features


def finish(run: Run, model: FasterRCNN, results: Sequence[TrainingResult]) -> None:
    """Write what the run folder does not hold yet, and print the results.  Only the chief calls it.

    `results` are those of all steps, in order; `model` is the detector after the last one.
    """
    _write_model(run, model)
    _delete_features(run)
    if not (run.folder / "report.html").is_file():
        with naming_undecodable(run.val_set):
            _write_report(run, model, results)
    print(summary_table(results))
    print(f"model:    {run.folder / 'model.keras'}")
    print(f"pictures: {run.folder / 'evaluation' / 'pictures'}")
    print(f"report:   {run.folder / 'report.html'}")


def _write_model(run: Run, model: FasterRCNN) -> None:
    """Write the finished detector in float32, whatever it was trained in."""
    path = run.folder / "model.keras"
    if not path.is_file():
        final = FasterRCNN(run.config, model.class_names, seed=run.options.seed)
        final.set_weights(model.get_weights())
        write_atomically(path, final.save)


def _delete_features(run: Run) -> None:
    """Delete the stored features: now that the detector is finished, they only take up space.

    They are in the folder that the run was started with, and in another one if it was resumed with another.
    """
    started = read_configuration(run.folder, "restore it from a backup")["options"].get("feature_cache_folder")
    now = run.options.feature_cache_folder if isinstance(run.options, AlternationOptions) else None
    for given in {started, now}:
        with contextlib.suppress(OSError):
            delete_features(feature_folder(run.folder, given))


def _write_report(run: Run, model: FasterRCNN, results: Sequence[TrainingResult]) -> None:
    dataset, directory = run.val_set, detection_directory(run, results[-1].name)
    detections = detect_dataset(model, dataset, directory, "detections")  # reads what `measure_detector` stored
    ap = results[-1].ap
    if ap is None:  # an earlier process measured it
        ap = evaluate_voc(dataset.examples, detections, dataset.class_names)
    write_pictures(dataset, detections, run.folder / "evaluation" / "pictures")
    write_report(run.folder, results, dataset, detections, ap)
