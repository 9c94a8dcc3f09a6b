# Everything a person or CI does with a checkout. `make` alone lists the targets.
# Each target that needs the environment creates or refreshes .venv by itself: the stamp inside it is
# older than pyproject.toml or requirements.lock exactly when the environment is out of date.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := all,dev,docs,test

# Test processes side by side; each computes on one thread, so that they do not fight for the cores.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
ONE_THREAD := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
PYTEST := $(ONE_THREAD) TF_CPP_MIN_LOG_LEVEL=2 MPLBACKEND=agg $(BIN)/python -m pytest

.PHONY: help
help: ## list the targets
	@echo "usage: make TARGET"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- environment

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none of python3.11, python3.12," \
		"python3.13, python3 is one. Install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo 'not there'); Python 3.11, 3.12 or 3.13" \
		"is needed. Name another: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into $(VENV): a minute or two, about 3 GB."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@

.PHONY: setup
setup: $(STAMP) ## create or refresh .venv, nothing else

# Resolved for the oldest Python that we support, so that one version of each package serves them all.
.PHONY: lock
lock: ## resolve the newest versions that pyproject.toml allows into requirements.lock
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lock/bin/uv pip compile --quiet --upgrade --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" \
		--extra all --extra dev --extra docs --extra test --extra cluster --extra browser --extra iterative \
		--output-file requirements.lock pyproject.toml
	rm -rf build/lock

# ---------------------------------------------------------------- the quick-start study

STAR := studies/siemens_star
STAR_RAW := $(STAR)/siemens_star_velociprobe_n64_raw.npz
STAR_MODES := $(STAR)/siemens_star_velociprobe_n64_probe_modes.npz
STAR_TRAIN := $(STAR)/data/siemens_star_velociprobe_n64_train.npz
STAR_TEST := $(STAR_TRAIN:_train.npz=_test.npz)

# Prepared once; order-only, because a checkout's file times mean nothing. The test file is written last: if it
# is missing, a training file beside it is the remains of an interrupted preparation.
$(STAR_TEST): | $(STAMP)
	$(BIN)/ptycho-study prepare $(STAR_RAW) $(STAR)/data --probe-file $(STAR_MODES) --overwrite

.PHONY: star-modes
star-modes: iterative ## refine the star's probe modes again, on the training half alone
	$(BIN)/ptycho-study prepare $(STAR_RAW) build/star_modes --probe-modes 3 --overwrite
	cp build/star_modes/$(notdir $(STAR_MODES)) $(STAR_MODES)

.PHONY: quickstart
quickstart: $(STAMP) $(STAR_TEST) ## real data, whole study: studies/siemens_star/results/report.html
	@start=$$SECONDS; \
	$(BIN)/ptycho-study run $(STAR_TRAIN) $(STAR_TEST) $(STAR)/results --config $(STAR)/study.yaml || exit $$?; \
	seconds=$$((SECONDS - start)); echo; \
	echo "Finished in $$((seconds / 60)) min $$((seconds % 60)) s. Open $(CURDIR)/$(STAR)/results/report.html"

# The other studies simulate their data, or prepare measured ones. `sparse_scan` needs `make iterative` first.
MEASURED := cnm_nanoprobe
PREPARE_cnm_nanoprobe := --bad-pixels mask --reference-file studies/cnm_nanoprobe/cnm_nanoprobe_reference.npz
.PHONY: study
study: $(STAMP) ## make the data of studies/STUDY, run and verify it, copy its outcome (STUDY=lines)
	@test -f "studies/$(STUDY)/simulation.yaml" -o -n "$(PREPARE_$(STUDY))" || { \
		echo "Name a study: make study STUDY=lines"; exit 1; }
	@test -f studies/$(STUDY)/data/$(STUDY)_test.npz || if test -n "$(PREPARE_$(STUDY))"; then \
		$(BIN)/ptycho-study prepare studies/$(STUDY)/$(STUDY)_raw.npz studies/$(STUDY)/data $(PREPARE_$(STUDY)); else \
		$(BIN)/ptycho-study simulate studies/$(STUDY)/simulation.yaml studies/$(STUDY)/data; fi
	$(BIN)/ptycho-study run studies/$(STUDY)/data/$(STUDY)_train.npz studies/$(STUDY)/data/$(STUDY)_test.npz \
		studies/$(STUDY)/results --config studies/$(STUDY)/study.yaml
	$(BIN)/ptycho-study verify studies/$(STUDY)/results
	$(MAKE) outcome STUDY=$(STUDY)

.PHONY: reference
reference: iterative ## reconstruct the references of a measured study again, each part from its own patterns
	$(BIN)/ptycho-study prepare studies/$(STUDY)/$(STUDY)_raw.npz build/reference --bad-pixels mask \
		--reference iterative-apart --reference-updates 500 --overwrite
	$(BIN)/python studies/make_measured.py reference build/reference/$(STUDY)_reference.npz \
		studies/$(STUDY)/$(STUDY)_reference.npz

.PHONY: outcomes
outcomes: iterative quickstart ## run and verify every study, copy the outcomes, write the quoted numbers (hours)
	$(BIN)/ptycho-study verify $(STAR)/results
	$(MAKE) outcome STUDY=siemens_star
	for name in $(MEASURED) $(patsubst studies/%/simulation.yaml,%,$(wildcard studies/*/simulation.yaml)); do \
		$(MAKE) study STUDY=$$name || exit 1; done
	$(BIN)/python docs/make_readme_figures.py
	$(BIN)/python docs/quote_numbers.py

.PHONY: lab
lab: $(STAMP) ## JupyterLab on the notebooks, this machine only, with a token (ARGS=--no-browser)
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks \
		--LabApp.extension_manager=readonly $(ARGS)

# ---------------------------------------------------------------- checks

.PHONY: test
test: $(STAMP) ## the tests (ARGS="-k stitching" for some of them)
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-slow
test-slow: $(STAMP) ## the tests that train for minutes
	$(PYTEST) -m slow $(ARGS)

.PHONY: browser
browser: $(STAMP) ## install headless Chromium and what drives it, where apt-get may
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS),browser]'
	@for name in chromium chromium-browser google-chrome; do command -v $$name && exit 0; done; \
	if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	else echo "No Chromium here; install it (Debian: apt-get install chromium)."; exit 1; fi

.PHONY: test-browser
test-browser: browser ## JupyterLab and a report in headless Chromium; pictures go to tests/screenshots
	$(PYTEST) -m browser $(ARGS)

.PHONY: iterative
iterative: $(STAMP) ## install the iterative engine, Pty-chi with PyTorch (Linux: 5.5 GB, three minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS),iterative]'

.PHONY: test-crate
test-crate: $(STAMP) ## a packed study, judged by rocrate-validator in an environment of its own (it needs an older rich)
	test -x build/crate/bin/rocrate-validator || { $(PYTHON) -m venv build/crate && build/crate/bin/pip install -q roc-validator; }
	CRATE_PYTHON=build/crate/bin/python $(PYTEST) tests/report/output/test_research_object.py $(ARGS)

.PHONY: test-iterative
test-iterative: iterative ## iterative reconstructions, alone and in a study
	$(PYTEST) -m iterative -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: cluster
cluster: $(STAMP) ## install what sends runs to a Dask cluster or a batch system
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS),cluster]'

.PHONY: slurm
slurm: ## install the batch system Slurm for test-cluster, where apt-get may
	@for name in slurmctld slurmd sbatch munged; do command -v $$name >/dev/null || missing=$$name; done; \
	if test -z "$$missing"; then exit 0; fi; \
	if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			slurmctld slurmd slurm-client munge; \
	else echo "No Slurm here; install it (Debian: apt-get install slurmctld slurmd slurm-client munge)."; exit 1; fi

.PHONY: test-cluster
test-cluster: cluster ## runs on Dask workers, and, where it is installed, on a real Slurm; all on loopback
	$(PYTEST) -m cluster -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: coverage
coverage: $(STAMP) ## the tests with coverage of ptycho_lib; build/coverage/index.html shows the lines
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder --cov=ptycho_lib --cov-report=term:skip-covered \
		--cov-report=html:build/coverage $(ARGS)

# A tiny study by a wheel in an environment of its own, outside the repository.
.PHONY: test-wheel
test-wheel: ## build a wheel, install it elsewhere, run a study with it (5 minutes, 2 GB in build/)
	rm -rf build/wheel && $(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock \
		"ptycho-lib[all] @ file://$$(ls $(CURDIR)/build/wheel/ptycho_lib-*.whl)"
	tests/smoke/run build/wheel/bin

# The oldest releases that pyproject.toml allows, and the same study.
.PHONY: test-lowest
test-lowest: ## run a study with the lowest versions of all dependencies (5 minutes, 2 GB in build/)
	rm -rf build/lowest && $(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lowest/bin/uv pip compile --quiet --resolution lowest-direct --python build/lowest/bin/python \
		--no-emit-index-url --extra all --output-file build/lowest/lowest.txt pyproject.toml
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python -r build/lowest/lowest.txt
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python --no-deps .
	tests/smoke/run build/lowest/bin

.PHONY: site
site: $(STAMP) ## build the documentation strictly into build/site; open build/site/index.html
	$(BIN)/ruff check --quiet --select D1 --ignore D105 ptycho_lib
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.PHONY: imports
imports: $(STAMP) ## print which parts of the library import which, and check the contracts
	$(BIN)/python docs/print_imports.py
	$(BIN)/lint-imports

.PHONY: check
check: $(STAMP) site ## lint, format, types, clean notebooks, import contracts, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --keep-id --verify $$(git ls-files '*.ipynb')
	$(BIN)/python docs/make_configuration.py --check
	$(BIN)/python docs/quote_numbers.py --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/project --deselect tests/project/test_imports.py

.PHONY: format
format: $(STAMP) ## fix what can be fixed: imports, format, notebook outputs
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id $$(git ls-files '*.ipynb')

.PHONY: docs
docs: $(STAMP) ## write docs/reference/configuration.md from the configuration's own docstrings
	$(BIN)/python docs/make_configuration.py

.PHONY: quotes
quotes: $(STAMP) ## write the numbers that README and studies/*/README.md quote from their tables
	$(BIN)/python docs/quote_numbers.py

# What of a finished study is small enough to commit beside its README.
OUTCOME := $(foreach name,generalization_study_results other_test_conditions quality_along_conditions quality_versus_time,\
	$(name).png $(name)_caption.txt) generalization_study_results_table.tex study_summary.csv matched_sizes.csv \
	aggregated_costs.csv

.PHONY: outcome
outcome: ## copy figure, caption and tables of studies/STUDY/results into studies/STUDY/outcome (STUDY=lines)
	@test -d "studies/$(STUDY)/results" || { echo "Name a study that has been run: make outcome STUDY=lines"; exit 1; }
	@mkdir -p "studies/$(STUDY)/outcome"
	@for name in $(OUTCOME); do if test -e "studies/$(STUDY)/results/$$name"; then \
		cp -v "studies/$(STUDY)/results/$$name" "studies/$(STUDY)/outcome/"; fi; done

PROCESSOR = $$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -1)

# Run on a machine that does nothing else. SAVE names the file: networks.py has several commands.
SAVE ?= $(NAME)
.PHONY: benchmark
benchmark: $(STAMP) ## run one, keep what it prints in benchmarks/results (NAME=networks ARGS=throughput SAVE=throughput)
	@test -f "benchmarks/$(NAME).py" || { echo "Name a benchmark: make benchmark NAME=overhead"; exit 1; }
	@mkdir -p benchmarks/results; set -o pipefail; { \
		echo "$$(date -u +'%d %B %Y'), commit $$(git rev-parse --short HEAD), $$(getconf _NPROCESSORS_ONLN) cores of $(PROCESSOR)"; \
		echo "$$ python benchmarks/$(NAME).py $(ARGS)"; echo; \
		TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python benchmarks/$(NAME).py $(ARGS) 2>/dev/null; \
	} | tee "benchmarks/results/$(SAVE).txt"

# ---------------------------------------------------------------- cleaning

.PHONY: clean
clean: ## remove caches and builds; the environment and study results stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage htmlcov tests/screenshots
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) \
		-exec rm -rf {} +

.PHONY: distclean
distclean: clean ## also remove .venv and the quick-start study's data and results
	rm -rf $(VENV) $(STAR)/data $(STAR)/results
