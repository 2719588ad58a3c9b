# Each command sets up what it needs in .venv, once: `make digits` trains, `make test` tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: digits test test-slow test-all fuzz soak lint docs clean
TEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

digits: $(VENV)/installed  ## Trains a Mixer on scikit-learn's digits and draws its curves.
	$(BIN)/python launch.py --config=configs/mixer.py:digits

test: lint  ## Checks style and types, then runs the tests, but for the slow ones.
	$(TEST) -m 'not slow'

test-slow: $(VENV)/installed-test  ## The slow ones alone.
	$(TEST) -m slow -rs

test-all: lint  ## The slow ones, too: many processes, and programs that are fully optimised.
	$(TEST)

fuzz: $(VENV)/installed-test  ## Tries random configs, thousands of them.
	$(BIN)/python -m pytest --hypothesis-profile fuzz -m 'not slow' $(shell grep -l '@given' -r tests)

soak: $(VENV)/installed  ## Kills runs a hundred times and compares what they end with.
	$(BIN)/python -m tests.soak

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-docs  ## Builds the site of docs/ into site/; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[stream]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV)
