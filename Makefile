# flowvox: `make help` lists the targets. Each one sets up what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
CHECKPOINT ?= models/tiny
ARTIFACTS ?= artifacts
RECIPES ?= fp32 fp16 int8 int4 embedded
TEXT ?= Hello. This is a very small voice, speaking from four bits.
BUNDLE ?= $(ARTIFACTS)/$(notdir $(CHECKPOINT))-int4
# CPU builds of torch live on an index of their own; PyPI's Linux wheel would bring CUDA along.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Threads that wait should sleep: the machine may have other work.
export OMP_WAIT_POLICY = passive
export KMP_BLOCKTIME = 0

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NAME := $(notdir $(CHECKPOINT))
BUNDLES := $(RECIPES:%=$(ARTIFACTS)/$(NAME)-%)

.DEFAULT_GOAL := help
.PHONY: help setup quantize say bench eval test lint check wheel refresh-tiny results train-tiny clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## environment for development (.venv)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	$(INSTALL) --no-deps --extra-index-url $(TORCH_INDEX) torch
	@touch $@

$(VENV)/.export: pyproject.toml $(VENV)/.torch
	$(INSTALL) -e '.[export]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.export

$(VENV)/.eval: $(VENV)/.export
	$(INSTALL) -e '.[export,eval]'
	$(INSTALL) --no-deps distillmos xls-r-sqa  # they declare torchaudio and transformers, and need neither
	@touch $@

$(VENV)/.train: $(VENV)/.export
	$(INSTALL) -e '.[train]'
	@touch $@

quantize: $(BUNDLES) ## all shipped recipes of CHECKPOINT (models/tiny) into artifacts/
	@$(BIN)/python -m flowvox.eval.sizes $(BUNDLES)

$(ARTIFACTS)/$(NAME)-%: $(CHECKPOINT)/consolidated.safetensors src/flowvox/recipes/%.yaml | $(VENV)/.export
	$(BIN)/flowvox quantize $(CHECKPOINT) -r $* -o $@ --overwrite

say: $(BUNDLE) ## speak TEXT="..." with BUNDLE into speech.wav
	$(BIN)/flowvox say "$(TEXT)" -b $(BUNDLE) -o speech.wav

bench: $(BUNDLES) ## interleaved speed of the bundles and the torch reference
	$(BIN)/flowvox bench $(CHECKPOINT) $(BUNDLES)

results: $(VENV)/.eval $(BUNDLES) ## measure speed and quality, write docs/results/
	$(BIN)/python -m flowvox.eval.results $(CHECKPOINT) $(BUNDLES) -o docs/results --readme README.md

test: $(VENV)/.dev ## the tests
	$(BIN)/pytest -q

lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## what CI runs

wheel: $(VENV)/.dev ## build dist/*.whl with the embedded bundle
	$(BIN)/python -m build --wheel --outdir dist .

refresh-tiny: $(VENV)/.export ## rebuild what is derived from models/tiny: the embedded bundle
	$(BIN)/flowvox quantize models/tiny -r embedded -o src/flowvox/data/tiny-int4 --overwrite

WORK ?= training-work
train-tiny: $(VENV)/.train ## train models/tiny from packages (hours; resumable; WORK=folder)
	for stage in corpus dataset decoder lm encoder pack score; do \
	  $(BIN)/python -m flowvox.reference.training $$stage --work $(WORK) --threads 2 \
	    --minutes 90 --out models/tiny || exit 1; \
	done

clean: ## remove what the other targets made
	rm -rf $(ARTIFACTS) dist speech.wav
