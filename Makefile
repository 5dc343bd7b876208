# Sets a machine with Python 3.11 up by itself: the virtual environment is made once, and again when setup.cfg changes.
PYTHON ?= python3.11
VENV := .venv
RUN := runs/synthetic

# Small pictures and a short schedule, for 2 CPU cores.  The weights come without fc6 and fc7: 1024 new units do.
SYNTHETIC := --short-side 240 --anchor-scales 32 45 64 90 128 --min-size 8 --fc-units 1024 --rois 128 --dropout 0 \
	--head-images 1 --iterations 130 320 250 400 --learning-rate 0.002 0.002 0.002 0.002

.PHONY: train test test-slow test-gpu

# All four steps on drawn scenes, from ImageNet weights that a Python package index has.
train: $(VENV)/installed
	$(VENV)/bin/python -m training.alternate --data synthetic --weights torchvision --run $(RUN) $(SYNTHETIC)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m slow

# On a machine with a GPU: TensorFlow's GPU kernels against the CPU's.
test-gpu: $(VENV)/installed
	KERAS_FRCNN_TEST_GPU=1 $(VENV)/bin/python -m pytest tests/gpu

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable .[test]
	touch $@
