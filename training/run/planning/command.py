"""What `training.plan` does: measure, choose, print and write."""

import pathlib
import time

from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_json
from training.engine.distribution import local_strategy
from training.run.options.reading import Request
from training.run.planning.plan_file import plan_lines, plan_to_json
from training.run.planning.planned import MakeSteps, make
from training.run.start import load_start, read_data


def write_plan(request: Request, make_steps: MakeSteps, out: str) -> None:
    """Make a plan, print it, and write it to the file `out`.  Raises InputError."""
    path = pathlib.Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # first: a place that cannot be written must not cost a plan
    except OSError as error:
        fix = "give a file in a folder that can be created"
        raise InputError(f"--out {out}", f"cannot be written ({error.strerror})", fix) from error
    start = load_start(request.options.weights)
    data = read_data(request.options)
    begun = time.monotonic()
    with local_strategy().scope(), naming_undecodable(data.train_set):
        plan = make(
            request, make_steps, data, start, lambda: time.monotonic() - begun, pathlib.Path(request.options.run)
        )
    print("\n".join(plan_lines(plan, type(request.options))))
    write_json(path, plan_to_json(plan))
