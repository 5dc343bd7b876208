"""The manifests for clusters: the TF_CONFIG that each worker gets, and options that the command line knows."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from training.alternate import parse_arguments

CLUSTER = Path(__file__).resolve().parents[2] / "training" / "cluster"
# In place of python: shows what it was given.
PYTHON = '#!/bin/bash\necho "$TF_CONFIG"\necho "$@"\nexit ${STATUS:-0}\n'


@pytest.fixture
def programs(tmp_path):
    """A folder of programs that stand in for those of a cluster, and the environment that finds them."""

    def write(name, text):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    write("python", PYTHON)
    return write, {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": "/home/user"}


def check(output, hosts, index):
    config, command = output.strip().splitlines()[-2:]
    expected = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
    assert json.loads(config) == expected
    module, *arguments = shlex.split(command)[1:]
    assert module == "training.alternate"
    assert parse_arguments(arguments).options.precision == "mixed_bfloat16"


def test_the_kubernetes_job(programs):
    _, environment = programs
    service, job = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    workers = next(entry["value"] for entry in container["env"] if entry["name"] == "WORKERS")
    assert int(workers) == job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert pod["subdomain"] == service["metadata"]["name"] == job["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    done = subprocess.run(
        [*container["command"], *container["args"]], env={**environment, "WORKERS": workers, "INDEX": "2"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    check(done.stdout, [f"faster-rcnn-{number}.faster-rcnn:{port['port']}" for number in range(4)], 2)


@pytest.mark.parametrize("status, requeued", [(0, False), (1, False), (2, False), (75, True)])
def test_the_slurm_job(programs, tmp_path, status, requeued):
    write, environment = programs
    write("scontrol", f'#!/bin/bash\n[ "$1" = show ] && printf "a1\\na2\\n" || echo "$@" >> {tmp_path}/scontrol.log\n')
    write("srun", '#!/bin/bash\nshift\nSLURM_PROCID=1 exec "$@"\n')
    environment |= {"SLURM_JOB_NODELIST": "a[1-2]", "SLURM_JOB_ID": "7", "STATUS": str(status)}
    done = subprocess.run(
        ["bash", CLUSTER / "slurm.sbatch"], env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    check(done.stdout, ["a1:2222", "a2:2222"], 1)
    assert (tmp_path / "scontrol.log").is_file() == requeued
