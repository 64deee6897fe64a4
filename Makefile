.DEFAULT_GOAL := help
PRESYN := .venv/bin/presyn
PYTHON ?= python3

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: help setup upgrade quickstart reproduce-paper reproduce-table1 tune-baselines reproduce-ablations reproduce-energy \
	reproduce-perceptron verify report docs pictures bench bench-gpu test test-faults test-browser soak accept-code lint check mlflow-ui

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## create .venv from the project's own files

upgrade: ## the newest versions of all that is installed, for docs and browser too, in constraints.txt; then: make check
	$(PYTHON) -m venv .venv/upgrade
	.venv/upgrade/bin/pip install --quiet --disable-pip-version-check '.[dev,browser,docs]'
	(head -1 constraints.txt; .venv/upgrade/bin/pip freeze --all --exclude presyn --exclude pip | sort -f) > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt
	rm -rf .venv/upgrade

quickstart: .venv/.ready ## search, transfer, Table 1, an ablation and energy on scikit-learn's digits: minutes, no download
	$(PRESYN) table1 --digits
	$(PRESYN) ablate --digits --off no-consolidation --trials 6
	$(PRESYN) reproduce energy --digits --seeds 1 2

reproduce-paper: .venv/.ready ## everything, with a verdict on each claim; says first how long; resumable
	$(PRESYN) reproduce --dry-run
	$(PRESYN) reproduce
	$(PRESYN) report

reproduce-table1: .venv/.ready ## the real thing on MNIST and Fashion-MNIST; resumable
	$(PRESYN) table1

tune-baselines: .venv/.ready ## the searches of all methods; resumable
	$(PRESYN) reproduce searches

reproduce-ablations: .venv/.ready ## Fig. 5a, parameters searched again for each ablation; resumable
	$(PRESYN) reproduce ablations

reproduce-energy: .venv/.ready ## Fig. 1 to 3, appendix 1 and 2: energy, information and sparsity on MNIST; resumable
	$(PRESYN) reproduce energy sparsity energy-settings uniform-start fixed-release

reproduce-perceptron: .venv/.ready ## Fig. 5b and c
	$(PRESYN) reproduce perceptron

verify: .venv/.ready ## verdicts from the committed rows; no training
	$(PRESYN) verify

report: .venv/.ready ## the page for readers, from the committed rows: results/report/index.html
	$(PRESYN) report

bench: .venv/.ready ## steps, tests, memory and orchestration beside their floors and the usual loop
	$(PRESYN) bench

bench-gpu: .venv/.ready ## the same on a GPU, which is first checked against the CPU
	$(PRESYN) bench --device cuda

test: .venv/.ready ## the tests
	.venv/bin/pytest -n logical --maxprocesses 4 --dist worksteal

test-faults: .venv/.ready ## real clusters, drivers, servers and disks that fail; needs root on Linux
	.venv/bin/pytest tests/faults || .venv/bin/pytest tests/faults --last-failed # once more: Ray itself may fail to start

test-browser: .venv/.ready ## the page for readers in headless Chromium (Debian's package chromium)
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	.venv/bin/pytest tests/browser
	$(PYTHON) -m venv .venv/crate && .venv/crate/bin/pip install --quiet --disable-pip-version-check roc-validator==0.13.0
	.venv/crate/bin/python tests/browser/validate_crate.py .venv/lib/python3*/site-packages/rocrate/data/ro-crate.jsonld

docs: .venv/.ready ## the documentation and the page for readers as static files, to publish as they are, in site/
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	.venv/bin/mkdocs build --quiet

pictures: .venv/.ready ## the pictures of MLflow's pages in docs/mlflow, in headless Chromium
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	.venv/bin/python docs/mlflow/pictures.py

soak: .venv/.ready ## a hundred kills of drivers, kills and Ctrl-C of searches, each file under results/ damaged fifty times: hours; needs root
	PRESYN_KILLS=100 .venv/bin/pytest tests/faults/test_drivers.py -k random_moments
	PRESYN_KILLS=40 PRESYN_INTERRUPTS=40 .venv/bin/pytest tests/faults -k "again_and_again or ctrl_c"
	PRESYN_DAMAGES=50 .venv/bin/pytest -s tests/pipeline/test_damage.py

lint: .venv/.ready ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

accept-code: .venv/.ready ## after a change of presyn/ that moves no number: check it on golden runs, and keep the ids of runs
	.venv/bin/python tests/presyn/golden.py --accept

check: lint test ## format, lint, types, tests

mlflow-ui: .venv/.ready ## MLflow's pages on the store
	$(PRESYN) mlflow-ui
