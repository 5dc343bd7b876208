"""Runs command lines, each in a fresh process that has TensorFlow imported already, with a fault in each.

    LD_PRELOAD=shim.so python tests/faults/server.py

Reads one JSON line for each run, with the arguments of `run`, and answers with the exit status.  Each process is forked
before TensorFlow has begun any thread, so it is as good as a new one and starts six seconds earlier.
"""

import ctypes
import importlib
import json
import os
import sys
import traceback

MODULES = (
    "training.run.training",
    "training.run.planning.planned",
    "export.savedmodel.export",
    "export.litemodel.export",
)
NOT_REACHED = 128  # added to the exit status if the call of the fault did not happen


def run(
    module: str, arguments: list[str], root: str, output: str, log: str | None, fault: tuple[str, str, int, bool] | None
) -> None:
    """Run one command line in this process; never returns.

    Args:
      module: the command, such as "training.alternate".
      arguments: its arguments.
      root: the folder whose files count.
      output: the file for standard output and standard error.
      log: a file for the calls, or None.
      fault: the call, its path under the root, the number of the error (0 kills) and whether the disk is full from then
        on; or None.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(descriptor, number)
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.fault_root(root.encode())
    if log:
        library.fault_log(log.encode())
    if fault:
        call, path, error, stays = fault
        library.fault_arm(call.encode(), path.encode(), error, stays)
    status = 0
    try:
        importlib.import_module(module).main(arguments)
    except SystemExit as exit_:
        status = exit_.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if fault is None or library.fault_hits() else status + NOT_REACHED)


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
