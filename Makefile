# `make run` and `make test` do everything on a fresh machine; see README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WARC ?=
# Workers of the tests, for two cores: they wait for servers and other processes much of the time.
JOBS ?= 3

.PHONY: run test quick ui mlflow serve docs bench bench-model check setup clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/python -m llm_assets.precompile
	touch $(STAMP)

setup: $(STAMP)
	$(BIN)/llm-assets setup

# The whole graph with the default recipe: crawl the sample web, then build every stage. A second run finds all cached.
run: setup
	$(BIN)/llm-assets run

# All tests, after a check of the code location and of the style.
test: $(STAMP) check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The tests to run while you work, in under three minutes on two cores. They leave out what starts servers, trains
# models or builds whole crawls (marked as slow; SLOW_MODULES in tests/conftest.py).
quick: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

check: $(STAMP)
	$(BIN)/dagster definitions validate
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

ui: setup
	$(BIN)/dagster dev

# MLflow's web interface, at http://localhost:5000: training curves, plots, and the registered models.
mlflow: $(STAMP)
	$(BIN)/mlflow ui --backend-store-uri sqlite:///data/mlflow/mlflow.db

# The page at http://127.0.0.1:8000, and OpenAI's API for the last model of the recipe at http://127.0.0.1:8000/v1.
serve: setup
	$(BIN)/llm-assets serve

# The pages of docs/reference that follow from the code.
docs: $(STAMP)
	$(BIN)/python -m docs.generate

# Pages per CPU-second of each stage, and of datatrove's FineWeb recipe in the same run if datatrove is installed:
# make bench WARC=FOLDER, a folder of WARC files.
bench: $(STAMP)
	@test -n "$(WARC)" || { echo "make bench: name a folder of WARC files: make bench WARC=/data/warc" >&2; exit 2; }
	$(BIN)/python benchmarks/curation.py --warc $(WARC) --json benchmarks/latest.json

# Training, sampling and tokenising at the laptop's shape, compared with transformers and tokenizers in the same run.
SHAPE := --depth 4 --width 128 --context 256 --vocabulary 2048 --tied
TEXT ?= data/artifacts/clean_corpus
bench-model: $(STAMP)
	$(BIN)/python benchmarks/training.py $(SHAPE) --batch-size 8 --micro-batch-size 8 --steps 40
	$(BIN)/python benchmarks/sampling.py $(SHAPE)
	$(BIN)/python benchmarks/tokenizer.py --text $(TEXT) --vocabulary 2048

clean:
	rm -rf $(VENV) data .env
