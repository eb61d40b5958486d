# Needs Python >= 3.11 and make, nothing else:  make demo,  make test.
PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin

.PHONY: demo test slow docs gallery bench lint clean

demo: $(VENV)/.demo
	$(BIN)/python -m benchmarks.demo

test: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow"

# What `test` leaves out: what compiles many kernels, trains, or starts other processes.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Into site/: open site/index.html. Warnings, broken links and missing pages fail.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Runs the pages of the gallery, and writes what they print and draw: a quarter of an hour of one core at most. Warnings fail.
gallery: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python docs/tools/gallery.py

bench: $(VENV)/.bench
	$(BIN)/python -m pytest -q benchmarks
	$(BIN)/python -m benchmarks.core
	$(BIN)/python -m benchmarks.throughput

# One stamp for each set of extras; it is older than its sources when they change.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): this takes a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build dist demo site .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
