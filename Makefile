# The index of commands. Everything lives in .venv, installed from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
STAMP := $(VENV)/.installed

.PHONY: setup demo check format test test-all docs bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: setup  ## the main job on data that comes inside scikit-learn
	$(BIN)/polytask demo --out demo-run

check: setup  ## what CI checks besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup  ## under ten minutes on two cores
	$(PYTEST)

test-all: setup check  ## with the slow proofs: random kills, headless browser
	$(PYTEST) -m 'slow or not slow'

docs: setup  ## every snippet of README and docs runs
	$(PYTEST) tests/docs

bench: setup  ## ratios, printed as tables; see benchmarks/README.md
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist
