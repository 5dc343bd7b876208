"""Curves read from TensorBoard files."""

import numpy as np

from training.reporting.curves import Curve, curves_by_quantity, read_curves, thin


def test_the_newest_value_of_an_iteration_counts(tmp_path, write_events):
    # The file of the later start comes first by name.
    old = [(10, 10, {"losses/a": 1}), (11, 30, {"losses/a": 3}), (12, 20, {"losses/a": 2})]
    new = [(20, 20, {"losses/a": 5, "losses/b": 7, "detections/picture": 0}), (21, 40, {"losses/a": 6})]
    write_events(tmp_path / "events.out.tfevents.2.old", old)
    write_events(tmp_path / "events.out.tfevents.1.new", new)
    curves = read_curves(tmp_path)
    assert sorted(curves) == ["losses/a", "losses/b"]
    np.testing.assert_array_equal(curves["losses/a"].iterations, [10, 20, 30, 40])
    np.testing.assert_array_equal(curves["losses/a"].values, [1, 5, 3, 6])
    np.testing.assert_array_equal(curves["losses/a"].times, [10, 20, 11, 21])
    np.testing.assert_array_equal(curves["losses/b"].values, [7])


def test_all_records_of_a_long_training_are_read(tmp_path, write_events):
    write_events(tmp_path / "events.out.tfevents.1", [(i, i, {"losses/a": i}) for i in range(2000)])
    np.testing.assert_array_equal(read_curves(tmp_path)["losses/a"].values, np.arange(2000))


def test_a_file_that_ends_in_half_a_record_is_read_up_to_there(tmp_path, write_events):
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [(1, 10, {"losses/a": 1}), (2, 20, {"losses/a": 2})])
    path.write_bytes(path.read_bytes()[:-5])
    write_events(tmp_path / "events.out.tfevents.2", [(3, 30, {"losses/a": 3})])
    np.testing.assert_array_equal(read_curves(tmp_path)["losses/a"].iterations, [10, 30])


def test_no_curves_without_a_folder_or_in_an_empty_one(tmp_path):
    (tmp_path / "empty").mkdir()
    assert read_curves(tmp_path / "missing") == read_curves(tmp_path / "empty") == {}


def test_curves_are_grouped_by_quantity_in_the_order_of_the_page():
    tags = ("images_per_second", "losses/rpn_box", "gradient_norm", "losses/rpn_class")
    curves = {tag: Curve(np.array([number]), np.zeros(1), np.zeros(1)) for number, tag in enumerate(tags)}
    grouped = curves_by_quantity(curves)
    assert list(grouped) == ["losses", "gradient norm", "images per second"]  # no learning rate was recorded
    assert {label: curve.iterations[0] for label, curve in grouped["losses"].items()} == {"rpn_box": 1, "rpn_class": 3}
    assert curves_by_quantity({}) == {}


def test_thinned_values_are_means_of_neighbours():
    np.testing.assert_array_equal(thin(np.array([1, 3, 5, 7, 9, 11]), 3), [2, 6, 10])
    np.testing.assert_array_equal(thin(np.array([1, 3, 5, 7, 9]), 2), [3, 8])
    np.testing.assert_array_equal(thin(np.array([4, 2]), 3), [4, 2])
