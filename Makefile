# Hengyu (衡语). `make help` lists the targets; every one sets up what it needs.
# A folder called datasets/ on the import path would be taken for Hugging Face's package of that name.
export PYTHONSAFEPATH := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := true

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SUITE ?= suites/smoke.toml
BASELINE ?= reports/baselines/$(basename $(notdir $(SUITE))).json
SOAK ?= 100
AXE ?= 4.14.1
GUIDED ?= 60
MARK ?= long or not long
AUDIT ?=
BOARD ?= latest
SIZES ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
# several test processes share the cores: PyTorch's threads would spin and wait for each other
# files are given out whole, in the order of tests/conftest.py: those that take long come first, so that both end together
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SINGLE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help setup bench check baseline golden pictures readme-pictures equal-bytes-picture matryoshka-picture attention test test-all soak audit perf lint format data report docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(VENV)/.run  ## create the environment that runs Hengyu (.venv)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.run
	$(PIP) --editable '.[dev]'
	@# axe-core checks the accessibility of the pages; without npm its tests are skipped
	-@command -v npm >/dev/null && npm install --silent --no-save --no-audit --no-fund --prefix $(VENV) axe-core@$(AXE)
	@touch $@

bench: $(VENV)/.run  ## evaluate the smoke suites (similarity, then search), or SUITE=path; prints leaderboards and where their pages are
	$(BIN)/hengyu run $(SUITE) $(if $(filter suites/smoke.toml,$(SUITE)),suites/smoke-retrieval.toml)

check: $(VENV)/.run  ## run SUITE and compare it with its baseline; fails if a score drops significantly
	$(BIN)/hengyu run $(SUITE) --quiet
	$(BIN)/hengyu gate $(BASELINE) latest

baseline: $(VENV)/.run  ## run SUITE and write its baseline; prints what changed, review the diff before committing
	$(BIN)/hengyu run $(SUITE) --quiet
	$(BIN)/hengyu baseline latest --out $(BASELINE)

golden: $(VENV)/.dev  ## rewrite the golden pages (tests/golden); review the diff before committing
	$(SINGLE) $(BIN)/python -m pytest --quiet --golden tests/test_golden.py

pictures: $(VENV)/.dev  ## write the golden pictures (tests/golden/pictures) anew: look at them before committing
	PYTHONPATH=runners $(BIN)/python tests/helpers/pictures.py

# BOARD: the run whose page is shown; SIZES: a run of suites/projection.toml, or of codes on other vectors, for the second picture
readme-pictures: $(VENV)/.dev  ## make the pictures of README.md (docs/assets) from the runs BOARD and SIZES
	$(BIN)/python tests/helpers/readme_pictures.py $(BOARD) $(SIZES)

# STS: a run of suites/equal-bytes.toml; RETRIEVAL: one of suites/equal-bytes-retrieval.toml; CMTEB: one of the first, on several tasks
equal-bytes-picture: $(VENV)/.dev  ## make docs/assets/equal-bytes.png from the runs STS and RETRIEVAL, or -cmteb.png from CMTEB
	$(BIN)/python tests/helpers/equal_bytes_picture.py $(STS) $(RETRIEVAL) $(CMTEB)

# RUN: a run of suites/matryoshka.toml
matryoshka-picture: $(VENV)/.dev  ## make docs/assets/matryoshka.png from RUN
	$(BIN)/python tests/helpers/matryoshka_picture.py $(RUN)

# CORPUS: a text file; DATA: the five tasks in the senteval_cn layout; MODELS: a folder for the encoders
attention: $(VENV)/.dev  ## pretrain small encoders with and without attention, print the tables of docs/findings/attention.md
	$(SINGLE) $(BIN)/python tests/helpers/attention_table.py $(CORPUS) $(DATA) $(MODELS)

test: $(VENV)/.dev  ## run the tests
	$(SINGLE) $(BIN)/python -m pytest --benchmark-disable --ignore=tests/perf $(SPREAD) --durations 25

test-all: $(VENV)/.dev  ## run all tests, including those that take minutes
	$(SINGLE) $(BIN)/python -m pytest --benchmark-disable --ignore=tests/perf $(SPREAD) --durations 25 -m "$(MARK)"

# SOAK: how often a run is killed; bytes flipped and examples of the fuzzing grow with it
# GUIDED: seconds of fuzzing guided by coverage, for each of 8 readers; atheris has no wheel for some systems
soak: $(VENV)/.dev  ## long robustness tests: kill a run at a hundred moments, flip bytes, fuzz every reader
	HENGYU_SOAK=$(SOAK) $(BIN)/python -m pytest --benchmark-disable tests/test_killed.py tests/test_damage.py \
	  tests/test_fuzz.py tests/test_fuzz_kept.py tests/test_fuzz_files.py tests/test_gate_small.py
	@if $(PIP) --only-binary atheris 'atheris>=3'; then $(BIN)/python tests/helpers/guided.py $(GUIDED); \
	else echo "SKIPPED: fuzzing guided by coverage; atheris cannot be installed here"; fi

# AUDIT=--strict: red where the database cannot be asked, which is a line otherwise
audit: $(VENV)/.dev  ## check the pinned dependencies for known vulnerabilities (needs the network)
	-@$(PIP) pip-audit
	$(BIN)/python .ci/audit.py $(AUDIT)

perf: $(VENV)/.dev  ## benchmark speed, as ratios to references timed in the same run; compare with earlier runs
	$(BIN)/python -m pytest tests/perf --benchmark-autosave --benchmark-columns=min,median,rounds; \
	status=$$?; $(BIN)/python tests/perf/compare.py && exit $$status

lint: $(VENV)/.dev  ## ruff, mypy (strict) and import-linter (imports point downwards)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

data: $(VENV)/.run  ## download every dataset that has a hub id, at its pinned revision
	$(BIN)/hengyu fetch --all

report: $(VENV)/.run  ## rewrite the page of the newest run
	$(BIN)/hengyu report latest

# the warning that is turned off is an advertisement
docs: $(VENV)/.dev  ## build the documentation site (reports/site/docs/index.html); warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:  ## delete the environment and everything generated, except the timings (.benchmarks)
	rm -rf $(VENV) reports/records reports/site reports/tuning .mypy_cache .ruff_cache .pytest_cache .hypothesis
