"""The command line that draws a data set."""

import pytest

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.synthetic.scenes import CLASS_NAMES
from keras_frcnn.data.synthetic import main


def test_the_command_line_writes_a_tree(tmp_path, capsys):
    out = tmp_path / "tree"
    arguments = ["--out", str(out), "--train", "2", "--val", "0", "--test", "1", "--height", "120", "--width", "160"]
    main(arguments)
    said = f"{out}: wrote 3 pictures (train, test)\nTo use them: --data voc:{out}\n"
    assert capsys.readouterr().out == said
    assert len(load_dataset(DataSpec(data=f"voc:{out}", class_names=CLASS_NAMES), "train+test").examples) == 3
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {out}: already exists and is not an empty folder; use a new folder\n"
