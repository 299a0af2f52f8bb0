# `make help` tells what there is. Needs Python >= 3.11, make and git; everything else is fetched into .venv.

PYTHON ?= python3
ARGS ?=
SEED ?= 20261125
BIN := .venv/bin
SOURCES := schemas vault streams workers projections deploy sealpost tests docs/example_channel

.DEFAULT_GOAL := help
.PHONY: help venv run test test-deep check format bench bench-receiver pictures lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

venv: ## prepare .venv from requirements.lock; does nothing when nothing has changed
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sealpost needs Python 3.11 or newer; $(PYTHON) is not. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -I -S deploy/prepare.py

run: venv ## start everything and walk the tour; ARGS="--exit-after-tour --data DIR --port-base N --ready-file F"
	@exec $(BIN)/sealpost up --tour $(ARGS)

test: venv ## everything: format, lint, types, imports, tidiness, and all tests on a real Kafka and PostgreSQL
	@$(MAKE) --no-print-directory --silent lint
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not deep" $(ARGS)

test-deep: venv ## under fire on production times, 25 minutes; SEED=n chooses another schedule, ARGS="kills outages disk clock" parts
	$(BIN)/pytest -q -m deep
	@exec $(BIN)/python -m tests.faults.deep --seed $(SEED) $(ARGS)

check: venv ## the quick part: format, lint, types, imports, tidiness
	@$(MAKE) --no-print-directory --silent lint
	$(BIN)/pytest -q tests/tidy

.PHONY: lint
lint:
	$(BIN)/ruff format --check --quiet --diff $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > .import-linter.log || { cat .import-linter.log; exit 1; }
	@rm -f .import-linter.log
	@echo "format, lint, types and imports are right"

format: venv ## format the code, and correct what can be corrected without thinking
	$(BIN)/ruff check --fix --quiet --exit-zero $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: venv ## ratios to a limit in the same run, not seconds (DESIGN §14)
	@exec $(BIN)/python -m tests.bench $(ARGS)

bench-receiver: venv ## the webhook receiver at 500, 1,000 and 2,000/s beside a bare app with the same producer, about 90 s
	@exec $(BIN)/python -m tests.bench receiver --rounds 1 $(ARGS)

pictures: venv ## make the README's pictures anew, by walking the sandbox page in a browser
	SEALPOST_PICTURES=docs/pictures $(BIN)/pytest -q tests/acceptance/test_sandbox.py -k whole_story
	$(BIN)/python -m tests.pictures > docs/pictures/page.sha256

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
		--extra dev --upgrade pyproject.toml -o requirements.lock
