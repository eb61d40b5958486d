# Needs Python >= 3.11 and make, nothing else:  make demo,  make test.
PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin

.PHONY: demo test bench lint clean

demo: $(VENV)/.dev
	$(BIN)/python -m sdekit demo

test: lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m pytest -q benchmarks
	$(BIN)/python -m benchmarks.throughput

# One stamp for each set of extras; it is older than its sources when they change.
$(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): this takes a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build dist demo .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
