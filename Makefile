# Every target makes the environment it needs in .venv: the run-time pins for `demo`, those for development too for the others.
# A stamp file in .venv names the pins, the Python and the place it was made for, and is written last: an installation that was
# interrupted, or made for other pins, is made again from nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

key = $(shell { cat $(1); $(PYTHON) -V; pwd; } 2>&1 | cksum | cut -d' ' -f1)
RUN := $(VENV)/run-$(call key,requirements/demo.txt settings.ini setup.py)
DEV := $(VENV)/dev-$(call key,requirements/demo.txt settings.ini setup.py requirements/dev.txt)

# Tests and documentation run on the CPU, offline.
CPU := JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1

# What is quick spends half of its time in the compiler, which may think less there; slow tests run as users do.
QUICK := $(CPU) XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

BUDGET ?= 900
ORDER ?= $(shell git rev-parse HEAD 2>/dev/null)

.PHONY: help install demo test test-slow test-turn lint docs lab notebooks export clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(DEV) ## Create .venv with everything pinned, and the hooks that keep notebooks clean
	@echo "Ready: $(BIN)/adaptive-dist, make lab, make test"

demo: $(RUN) ## Train uniformly and adaptively for a few minutes on the CPU, and compare
	$(BIN)/adaptive-dist demo --out runs/demo

test: lint ## Lint; compare modules, README and notebooks; build the site; run notebooks and tests
	$(BIN)/python tools/notebooks/check_notebooks.py
	$(BIN)/python tools/notebooks/readme.py --check
	$(CPU) $(BIN)/python tools/site/docs.py
	$(QUICK) $(BIN)/nbdev_test --n_workers 2 --do_print
	$(QUICK) $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(DEV) ## The cells and tests that `make test` leaves out
	$(CPU) $(BIN)/python -m pytest -n 2 --dist worksteal --only-slow

test-turn: $(DEV) ## As many of them as fit into BUDGET seconds, in an order that follows from the commit
	$(CPU) $(BIN)/python -m pytest -n 2 --dist worksteal --only-slow --budget $(BUDGET) --order "$(ORDER)"

lint: $(DEV) ## ruff, mypy, and how the code is written, in figures
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python tools/notebooks/letters.py --limits

docs: $(DEV) ## Build the site into _docs/ (no Quarto needed)
	$(CPU) $(BIN)/python tools/site/docs.py

lab: $(DEV) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab nbs

notebooks: export ## Run every notebook in place, slow cells too, and clean it (NB="nbs/method/rules.ipynb" for some)
	$(BIN)/python tools/notebooks/run_notebooks.py $(NB)
	$(BIN)/python tools/notebooks/readme.py

export: $(DEV) ## Write adaptive_dist/ and README.md from the notebooks, and clean those
	$(BIN)/nbdev_export
	$(BIN)/python tools/notebooks/run_notebooks.py --only-clean
	$(BIN)/python tools/notebooks/readme.py

clean: ## Remove what was built, but not .venv nor runs/
	rm -rf _proc _docs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache nbs/nbdev.yml
	find adaptive_dist nbs tests tools \( -name __pycache__ -o -name .ipynb_checkpoints -o -name .last_checked \) -prune -exec rm -rf {} +

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "adaptive_dist needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": name another, as in make PYTHON=python3.12")'
	@echo "Installing the pinned packages into $(VENV): about a minute, 1.3 GB"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install -r requirements/demo.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUN)
	@echo "Installing the development tools: half a minute, 0.5 GB"
	@rm -f $(VENV)/run-* $(VENV)/dev-*
	@$(PIP) install -r requirements/dev.txt
	@if [ -d .git ]; then $(BIN)/python tools/notebooks/install_hooks.py; fi
	@touch $(RUN) $@
