# Everything is made inside this folder: .venv for the tools, data/ for what is fetched or trained.

PROFILE ?= quick
SEEDS ?=
DATA ?=
SETS ?=
ONLY ?=
JOBS ?= $(if $(filter quick,$(PROFILE)),2,1)
GPU ?=
URL ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
PY := $(BIN)/python
INSTALLED := .venv/installed$(if $(filter-out 0,$(GPU)),-gpu)
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
# No cache in the home folder; bytecode is compiled when a module is first imported, not for all 3 GB of them.
PIP = $(PY) -m pip install --no-cache-dir --no-compile --disable-pip-version-check
SIDE_BY_SIDE = -n 2 --dist loadfile
STRIP := $(BIN)/nbstripout --extra-keys metadata.language_info

# Caches and settings of the tools go here too, not into the home folder; what you have set yourself is kept.
CACHE := $(CURDIR)/data/cache
export MPLCONFIGDIR ?= $(CACHE)/matplotlib
export KERAS_HOME ?= $(CURDIR)/data/raw/keras
export SKIMAGE_DATADIR ?= $(CACHE)/scikit-image
export XDG_CACHE_HOME ?= $(CACHE)
export CUDA_CACHE_PATH ?= $(CACHE)/cuda
# Always ours: a kernel registered in the home folder would run in another Python than .venv's.
export JUPYTER_DATA_DIR := $(CACHE)/jupyter/data
export JUPYTER_CONFIG_DIR := $(CACHE)/jupyter/config
export JUPYTER_RUNTIME_DIR := $(CACHE)/jupyter/runtime
export JUPYTER_PREFER_ENV_PATH := 1
export IPYTHONDIR := $(CACHE)/ipython
export TF_CPP_MIN_LOG_LEVEL ?= 3
export NO_ALBUMENTATIONS_UPDATE := 1
# Where this is set, every notebook would compile what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

RUN = $(PY) -m notebooks.runner.run --profile "$(PROFILE)" $(if $(DATA),--data "$(DATA)") \
	$(if $(SETS),--sets "$(SETS)") $(if $(ONLY),--only $(ONLY)) $(if $(SEEDS),--seeds $(SEEDS)) \
	--jobs $(JOBS)

.PHONY: help setup train-all test test-fast test-jax test-scale colab-check lint format torture bench gpu-check results render docs weights notebook address clean

help: ## Show this help
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PROFILE=quick    quick (2 cores, offline), photos (real photographs, 2 cores), full (published sizes, a GPU),"
	@echo "                   scenes (as photos, on the embedded pictures: for make results)"
	@echo "  DATA=SOURCE      one picture set for every role: a name (scenes, flowers, ...), a folder, a .tar or a .zip"
	@echo "  SETS=FOLDER      a folder with one set per role: faces, flowers, landscapes, varied (folder, .tar or .zip)"
	@echo "  SEEDS=\"0 1 2\"    the seeds of make results, in place of the profile's"
	@echo "  ONLY=\"01 09\"     these notebooks alone"
	@echo "  JOBS=2           so many notebooks of train-all at a time (default: 2 where quick, else 1)"
	@echo "  GPU=1            install TensorFlow with CUDA (Linux)"
	@echo "  PYTHON=python3.13  the Python to set up .venv, or for colab-check .venv-colab, with"

train-all: $(INSTALLED) ## Train and score every notebook -> data/runs/PROFILE/index.html
	$(RUN)

test: $(INSTALLED) ## Run every test
	$(PY) -m pytest $(SIDE_BY_SIDE)

test-fast: $(INSTALLED) ## Run the fast tests (under 2 minutes on 2 cores)
	$(PY) -m pytest $(SIDE_BY_SIDE) -m "not slow"

test-jax: $(INSTALLED) ## The tests of models, losses, decoding and colorize, with Keras on JAX
	$(PIP) -q -e ".[jax]"
	KERAS_BACKEND=jax $(PY) -m pytest -m "not slow" tests/test_models.py tests/test_losses.py tests/test_decoding.py tests/test_colorize.py tests/test_aging.py

test-scale: $(INSTALLED) ## The tests of many machines: Apache Beam, several devices, sets from other libraries
	$(PIP) -q -e ".[scale,tfds,hf,jax]"
	$(PY) -m pytest tests/test_scale.py tests/test_bridges.py
	$(PY) -m pytest tests/test_devices.py -k "jax or killed"

colab-check: ## Notebooks 01 and 09 as Colab runs them, and the fast tests, on Colab's Python 3.13 and versions
	@test -x .venv-colab/bin/python || "$(or $(PYTHON),python3.13)" -m venv .venv-colab || \
	  { echo "This needs Python 3.13: name it, make colab-check PYTHON=/path/to/python3.13" >&2; exit 1; }
	.venv-colab/bin/python -m pip install -q --no-cache-dir --disable-pip-version-check -r .ci/colab.txt
	.venv-colab/bin/python .ci/colab_check.py

lint: $(INSTALLED) ## Check style, formatting, and that source notebooks carry no outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(if $(NOTEBOOKS),$(STRIP) --verify $(NOTEBOOKS))

format: $(INSTALLED) ## Correct what `make lint` complains of, where a machine can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NOTEBOOKS),$(STRIP) $(NOTEBOOKS))

torture: $(INSTALLED) ## Kill, damage, starve and crowd all that writes (about 10 minutes, not in CI) -> docs/reliability.md
	$(PY) tests/torture.py --rounds 2 --out notebooks/results/benchmarks/torture.json
	@$(MAKE) --no-print-directory docs

bench: $(INSTALLED) ## Measure speeds (tests/benchmarks/), and what make train-all takes
	@for file in tests/benchmarks/*.py; do echo "== $$file"; $(PY) "$$file" || exit 1; done
	rm -rf data/runs/quick
	$(PY) -m notebooks.runner.run --profile quick --jobs 2
	cp data/runs/quick/minutes.json notebooks/results/benchmarks/train_all.json

gpu-check: $(INSTALLED) ## Train each published system at full width for 20 steps on this computer's GPU (with GPU=1)
	$(PY) tests/benchmarks/full.py --train 20

results: PROFILE := $(if $(filter environment,$(origin PROFILE)),$(PROFILE),photos)
results: $(INSTALLED) ## Run the profile's experiments over their seeds -> notebooks/results/ (skips what is there)
	$(RUN) --results

render: $(INSTALLED) ## Like train-all, and put the executed copies into notebooks/rendered/
	$(RUN) --render

docs: $(INSTALLED) ## Write the tables of README.md and docs/ from the result files
	$(PY) -m notebooks.runner.docs

weights: $(INSTALLED) ## Train the colorizer that ships, from SETS=FOLDER
	$(if $(SETS),,$(error give SETS=FOLDER with faces, flowers, landscapes and varied, folders or archives))
	$(PY) -m notebooks.runner.run --profile ship --sets "$(SETS)" --only 12

notebook: $(INSTALLED) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

address: $(INSTALLED) ## Write the repository's public address (URL=https://...) into badges and bootstrap cells
	$(PY) -m notebooks.runner.run --address "$(URL)"

clean: $(INSTALLED) ## Remove what was built (data/runs, data/processed, caches); keep .venv, downloads, strangers' files
	@$(PY) -m notebooks.runner.clean

setup: $(INSTALLED) ## Install into .venv (every other target does this by itself)

# The last released TensorFlow has wheels for Python 3.11 to 3.13. PYTHON=... overrules the search.
.venv/installed: requirements.txt pyproject.toml
	@good='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if $(PY) -c "$$good" 2>/dev/null; then exit 0; fi; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python); do \
	  if "$$python" -c "$$good" 2>/dev/null; then \
	    echo "Setting up .venv with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear .venv; \
	  fi; \
	done; \
	echo "This needs Python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1 || true)." >&2; \
	echo "Install one from https://www.python.org/downloads/, or name one: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
	@echo "Installing what requirements.txt names, and the tools of development: about 3 GB, some minutes"
	@date +%s > .venv/begun
	$(PIP) -e ".[dev]"
	@# The filter that .gitattributes names; outside a git checkout there is nothing to set.
	@git config filter.nbstripout.clean "$(STRIP)" 2>/dev/null || true
	@git config diff.ipynb.textconv "$(STRIP) -t" 2>/dev/null || true
	@# Also compiles to bytecode what every notebook imports, once, and fails here if it cannot be imported.
	@$(PY) -c "import tensorflow, notebooks.runner.run, colorlib.plots, colorlib.scoring.results, colorlib.training"
	@# The minutes of the first time: a later one finds most of it there.
	@if [ -s $@ ]; then touch $@; else echo "$$(( $$(date +%s) - $$(cat .venv/begun) )) seconds" > $@; fi
	@rm .venv/begun

.venv/installed-gpu: .venv/installed
	$(PIP) "tensorflow[and-cuda]==$$($(PY) -c 'from importlib.metadata import version; print(version("tensorflow"))')"
	@touch $@
