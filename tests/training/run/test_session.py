"""The log of a run: what the terminal shows, what train.log keeps, and that nothing stays behind."""

import logging

import pytest

from training.alternate import parse_arguments
from training.run import session, start
from training.run.session import open_session
from training.run.start import read_data

LOGGER = logging.getLogger("training.run.somewhere")


def options_of(voc_tree, folder):
    return parse_arguments(["--data", f"voc:{voc_tree}", "--run", str(folder), "--weights", "none"]).options


def log_at_every_level():
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        LOGGER.log(level, "a message at level %d", level)


def test_the_terminal_shows_messages_and_the_file_keeps_all(voc_tree, tmp_path, capsys):
    options = options_of(voc_tree, tmp_path / "run")
    with open_session(options, read_data(options)) as run:
        assert run.folder == tmp_path / "run"
        log_at_every_level()
    log_at_every_level()  # after the session, nothing shows it
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "a message at level 20" and shown.out.count("a message") == 1
    assert "4 images to train on, 2 to measure on" in shown.out
    assert shown.err.splitlines() == ["a message at level 30"]
    expected = [f"a message at level {level}" for level in (10, 20, 30)]
    assert (tmp_path / "run" / "logs" / "train.log").read_text().splitlines() == expected
    assert not logging.getLogger("training").handlers


def test_the_doctor_is_heard_at_the_start(voc_tree, tmp_path, capsys):
    options = options_of(voc_tree, tmp_path / "run")
    data = read_data(options)
    train_set = data.train_set
    boxes = train_set.examples[0].boxes.copy()
    boxes[:] = boxes[0]
    twice = train_set.examples[0]._replace(boxes=boxes, classes=boxes[:, 0].astype("int32") * 0 + 1)
    changed = train_set._replace(examples=(twice, *train_set.examples[1:]))
    with open_session(options, data._replace(train_set=changed)):
        pass
    shown = capsys.readouterr().out
    assert "warning: duplicate box: " in shown and "; remove one of the two objects" in shown
    assert f"all checks of the data: python -m keras_frcnn.data.validate voc:{voc_tree}\n" in shown


def test_confusing_class_names_are_warnings_at_the_start(voc_tree, tmp_path, capsys):
    options = options_of(voc_tree, tmp_path / "run")
    data = read_data(options)
    names = ("cat", "Cat", "background", *data.train_set.class_names[3:])
    renamed = {
        "train_set": data.train_set._replace(class_names=names),
        "val_set": data.val_set._replace(class_names=names),
    }
    with open_session(options, data._replace(**renamed)):
        pass
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert any("Cat" in line and "cat" in line for line in warnings), warnings
    assert any("background" in line for line in warnings), warnings


def test_a_handler_of_the_root_logger_does_not_print_the_lines_again(voc_tree, tmp_path, caplog):
    """Imported libraries install such a handler."""
    options = options_of(voc_tree, tmp_path / "run")
    with caplog.at_level("DEBUG"), open_session(options, read_data(options)):
        log_at_every_level()
    assert "a message" not in caplog.text
    LOGGER.warning("after the session")
    assert "after the session" in caplog.text


def test_the_log_of_a_resumed_run_is_appended(voc_tree, tmp_path):
    options = options_of(voc_tree, tmp_path / "run")
    for _ in range(2):
        with open_session(options, read_data(options)):
            LOGGER.info("here")
    assert (tmp_path / "run" / "logs" / "train.log").read_text() == "here\nhere\n"


def test_other_workers_are_silent(voc_tree, tmp_path, capsys, monkeypatch):
    options = options_of(voc_tree, tmp_path / "run")
    for module in (session, start):
        monkeypatch.setattr(module, "is_chief", lambda: False)
    with open_session(options, read_data(options)):
        log_at_every_level()
    assert capsys.readouterr() == ("", "") and not (tmp_path / "run" / "logs").exists()


def test_handlers_are_removed_after_an_error(voc_tree, tmp_path):
    options = options_of(voc_tree, tmp_path / "run")
    with pytest.raises(ZeroDivisionError), open_session(options, read_data(options)):
        raise ZeroDivisionError
    assert not logging.getLogger("training").handlers
