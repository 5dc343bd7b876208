"""All figures of a machine with GPUs in one command: precisions, XLA, and 1 to all of its GPUs.

    python tests/benchmarks/gpu.py --folder build/gpu

runs the other benchmarks, each in a process of its own, and writes a JSON file for each into the folder.  It takes some
minutes.  Without a GPU it refuses, unless `--cpu` asks for a trial with small pictures.
"""

import argparse
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HERE = pathlib.Path(__file__).parent
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="run without a GPU, with small pictures")
    options = parser.parse_args()
    gpus = number_of_gpus()
    if not gpus and not options.cpu:
        parser.error("this machine has no GPU that TensorFlow can use; --cpu tries the commands with small pictures")
    small = ["--size", "64", "96", "--fc-units", "64", "--rounds", "2"] if options.cpu else []
    for name, (script, *words) in commands(max(gpus, 1)).items():
        sized = [] if script == "xla.py" else small
        print(f"== {name}", flush=True)
        out = ["--out", str(options.folder / f"{name}.json")]
        subprocess.run([sys.executable, str(HERE / script), *words, *sized, *out], check=True)


def commands(devices: int) -> dict[str, list[str]]:
    """The script and options of each benchmark, by the name of its file."""
    runs = {"inference": ["inference.py"], "xla": ["xla.py"]}
    counts = [str(count) for count in range(1, devices + 1)]
    for precision in PRECISIONS:
        runs[f"iteration_{precision}"] = ["iteration.py", "--precision", precision]
        runs[f"throughput_{precision}"] = ["throughput.py", "--precision", precision, "--devices", *counts]
    return runs


def number_of_gpus() -> int:
    """Counted in another process: TensorFlow takes all memory of the GPUs that it has seen."""
    code = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
