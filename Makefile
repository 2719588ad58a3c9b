# Each command sets up what it needs in .venv, once: `make digits` trains, `make test` tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: digits test soak lint clean

digits: $(VENV)/installed  ## Trains a Mixer on scikit-learn's digits and draws its curves.
	$(BIN)/python launch.py --config=configs/mixer.py:digits

test: lint  ## Checks style and types, then runs the tests.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/installed  ## Kills runs a hundred times and compares what they end with.
	$(BIN)/python -m tests.soak

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
