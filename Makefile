# Everything installs itself into .venv/ first; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header
EXTRAS = s3 gcs azure sftp
TESTS = isams_pipeline_tests
UNIT = $(addprefix $(TESTS)/,rules delivery test_config.py alerts/test_alert_messages.py sources/test_folding.py \
	$(addprefix sources/isams/test_,document.py json_rows.py parse.py) \
	$(addprefix partners/test_,imports.py matching.py schoolsbuddy.py))
PYTEST = $(BIN)/pytest -n 2 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo ui test unit whole coverage coverage-of-all mutants campaign lint types definitions browser bench docs lock clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; try: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import sys; v = sys.version_info; f = {(3, 11): 10, (3, 12): 5}.get(v[:2], 0); v[2] < f and print(f"Warning: Python {v[0]}.{v[1]}.{v[2]} has two flaws that {v[0]}.{v[1]}.{f} has not (headers of mail, slow attributes of XML); take that or a later one.")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV)/, locked with hashes (a minute or two the first time)"
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/runtime.txt --requirement requirements/build.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

demo: $(VENV)/.runtime ## Three nights of two made-up schools, by every source, for every partner
	$(BIN)/isams-pipeline demo

ui: $(VENV)/.runtime ## The Dagster UI over data/ (with the made-up schools, after a demo)
	$(BIN)/isams-pipeline ui

test: unit whole ## The test suite, without the browser and the campaigns

unit: $(VENV)/.dev ## Its part without runs, servers and databases: rules, parser, mappings, settings, gate; seconds
	$(PYTEST) $(UNIT)

whole: $(VENV)/.dev ## Its part with them: real runs on a real instance against served stand-ins
	$(PYTEST) -m "not browser and not campaign" $(addprefix --ignore=,$(UNIT))

# The floors may only rise.
coverage: $(VENV)/.dev ## Branch coverage of rules, gate and declarations by the unit part; below the floor it fails
	$(PYTEST) $(UNIT) $(addprefix --cov=isams_pipeline.,rules delivery datasets) --cov-branch --cov-report=term:skip-covered --cov-fail-under=88

coverage-of-all: $(VENV)/.dev ## Branch coverage of everything by all tests, and of what they start; about twice their time
	$(PYTEST) -m "not browser and not campaign" --cov --cov-report=term:skip-covered --cov-fail-under=95

mutants: $(VENV)/.dev ## Change rules and gate line by line and see whether a test notices (hours; or MUTANTS='isams_pipeline.rules.split*')
	$(BIN)/mutmut run $(MUTANTS)
	$(BIN)/python -m isams_pipeline_tests.survivors

campaign: $(VENV)/.dev ## Kills, fuzzing and many schools at once, bounded, other ones every day
	$(PYTEST) -m campaign

lint: $(VENV)/.dev ## Style, formatting, what the docs say against what the code says
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m isams_pipeline.commands.dictionary --check docs/data-dictionary.md
	$(BIN)/python -m isams_pipeline.commands.wire_facts --check docs/wire-facts.md
	$(BIN)/python -m isams_pipeline.commands.error_table --check docs/errors.md
	$(BIN)/python -m isams_pipeline.commands.processing --check docs/record-of-processing.md
	$(BIN)/lint-imports --no-cache
	$(BIN)/pylint isams_pipeline
	$(BIN)/python -m isams_pipeline_tests.house --check

types: $(VENV)/.dev ## pyright: strict on the package, standard on the tests
	$(BIN)/pyright

definitions: $(VENV)/.dev ## Dagster loads the project, without a school, a network or a variable
	env -i DAGSTER_DISABLE_TELEMETRY=1 HOME="$$(mktemp -d)" PATH="$$PATH" $(BIN)/dagster definitions validate -w workspace.yaml
	env -i DAGSTER_DISABLE_TELEMETRY=1 HOME="$$(mktemp -d)" PATH="$$PATH" VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/dg check defs

browser: $(VENV)/.dev ## The test that drives a real headless Chromium
	$(BIN)/pytest -m browser

bench: $(VENV)/.dev ## The benchmarks, as ratios (several minutes)
	$(BIN)/python -m isams_pipeline_tests.benchmarks --write docs/benchmarks.md

docs: $(VENV)/.dev ## Write what is generated: the data dictionary, the facts about the wires, the errors, the record of processing, the picture of the house, the JSON Schema of change requests
	$(BIN)/python -m isams_pipeline.commands.dictionary docs/data-dictionary.md
	$(BIN)/python -m isams_pipeline.commands.wire_facts docs/wire-facts.md
	$(BIN)/python -m isams_pipeline.commands.error_table docs/errors.md
	$(BIN)/python -m isams_pipeline.commands.processing docs/record-of-processing.md
	$(BIN)/python -m isams_pipeline_tests.house
	$(BIN)/python -m isams_pipeline.partners.my_school_portal.requests > docs/change-request.schema.json

lock: $(VENV)/.dev ## Lock the dependencies again, with hashes and without a server's address
	$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) --group build --output-file requirements/build.txt
	for extra in $(EXTRAS); do $(LOCK) pyproject.toml --extra $$extra --constraint requirements/runtime.txt --output-file requirements/$$extra.txt || exit 1; done
	$(LOCK) --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt

clean: ## Remove .venv/ and caches; data/ stays
	rm -rf mutants .coverage* $(VENV) .pytest_cache .ruff_cache .hypothesis
