# `make run` and `make test` do everything on a fresh machine; see README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WARC ?= ../shared/data/web/2026-10
JOBS ?= 2

.PHONY: run test ui bench check lint setup clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(STAMP)

setup: $(STAMP)
	$(BIN)/llm-assets setup

# The whole graph on the embedded default: crawl the sample web, then every stage. A second run is all cached.
run: setup
	$(BIN)/llm-assets run

# Tests, after the code location's own check.
test: $(STAMP) check
	$(BIN)/python -m pytest -n $(JOBS)

check: $(STAMP)
	$(BIN)/dagster definitions validate
	$(BIN)/ruff check .

ui: setup
	$(BIN)/dagster dev

# Pages per CPU-second of each stage; where datatrove is installed in $(DATATROVE_PYTHON), its recipe in the same run.
bench: $(STAMP)
	$(BIN)/python benchmarks/curation.py --warc $(WARC) --json benchmarks/latest.json

clean:
	rm -rf $(VENV) data .env
