# flowvox: `make help` lists the targets. Each one sets up what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
CHECKPOINT ?= models/tiny
ARTIFACTS ?= artifacts
RECIPES ?= fp32 fp16 int8 int4 int4-cpu int4-gpu embedded
GGUF_TYPES ?= q8_0 q4_k
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
GGUFS := $(GGUF_TYPES:%=$(ARTIFACTS)/$(NAME)-%.gguf)

.DEFAULT_GOAL := help
.PHONY: help setup quantize say bench eval gate results readme-table test lint check wheel \
  refresh-tiny train-tiny clean

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
	@touch $@ $(VENV)/.export $(VENV)/.gguf

$(VENV)/.gguf: $(VENV)/.export
	$(INSTALL) -e '.[export,gguf]'
	@touch $@

$(VENV)/.eval: $(VENV)/.export
	$(INSTALL) -e '.[export,eval]'
	$(INSTALL) --no-deps distillmos xls-r-sqa  # they declare torchaudio and transformers, and need neither
	@touch $@

$(VENV)/.compare: pyproject.toml $(VENV)/.export
	$(INSTALL) -e '.[export,compare]'
	@touch $@

$(VENV)/.train: $(VENV)/.export
	$(INSTALL) -e '.[train]'
	@touch $@

quantize: $(BUNDLES) $(GGUFS) ## bundles and GGUF files of CHECKPOINT (models/tiny) into artifacts/
	@$(BIN)/python -m flowvox.eval.sizes $(BUNDLES)

$(ARTIFACTS)/$(NAME)-%: $(CHECKPOINT)/consolidated.safetensors src/flowvox/recipes/%.yaml | $(VENV)/.export
	$(BIN)/flowvox quantize $(CHECKPOINT) -r $* -o $@ --overwrite

$(ARTIFACTS)/$(NAME)-%.gguf: $(CHECKPOINT)/consolidated.safetensors src/flowvox/recipes/%.yaml | $(VENV)/.gguf
	@mkdir -p $(ARTIFACTS)
	$(BIN)/flowvox quantize $(CHECKPOINT) -f gguf -r $* -o $@ --overwrite

say: $(BUNDLE) ## speak TEXT="..." with BUNDLE into speech.wav
	$(BIN)/flowvox say "$(TEXT)" -b $(BUNDLE) -o speech.wav

bench: $(BUNDLES) ## interleaved speed of the bundles and the torch reference
	$(BIN)/flowvox bench $(CHECKPOINT) $(BUNDLES)

SUITE ?= standard
BASELINE = $(ARTIFACTS)/$(NAME)-fp16
GATED = $(ARTIFACTS)/$(NAME)-int8 $(ARTIFACTS)/$(NAME)-int4
GATE_SUITES = smoke
RESULT_SUITES ?= smoke standard

eval: $(VENV)/.eval $(BUNDLES) ## what was lost: SUITE (standard) on all bundles, into reports/
	$(BIN)/flowvox eval $(BUNDLES) --baseline $(BASELINE) --suite $(SUITE) -o reports/$(NAME)-$(SUITE)

gate: $(VENV)/.eval $(BASELINE) $(GATED) ## red if int8 or int4 of the small model lose more than their budget
	for suite in $(GATE_SUITES); do \
	  $(BIN)/flowvox eval $(GATED) --baseline $(BASELINE) --suite $$suite -o reports/gate-$$suite && \
	  $(BIN)/flowvox gate reports/gate-$$suite/report.json --budget eval/budgets/$$suite.yaml || exit $$?; \
	done

# What other tools make of the same weights, to compare with.
OTHERS = $(ARTIFACTS)/$(NAME)-int8-dynamic $(ARTIFACTS)/$(NAME)-nf4
$(OTHERS): | $(VENV)/.compare

# smoke is what the gate sees; standard, which takes long, fills the README's table.
results: $(VENV)/.eval $(BUNDLES) $(OTHERS) ## measure everything again: docs/results/ and the README's table
	for suite in $(RESULT_SUITES); do \
	  $(BIN)/flowvox eval $(CHECKPOINT) $(BUNDLES) $(OTHERS) --baseline $(BASELINE) --suite $$suite \
	    -o reports/results-$$suite && \
	  cp reports/results-$$suite/report.json docs/results/$$suite.json && \
	  cp reports/results-$$suite/report.md docs/results/$$suite.md || exit $$?; \
	done
	$(MAKE) readme-table

readme-table: $(VENV)/.eval ## the README's table from docs/results/
	$(BIN)/python -m flowvox.eval.readme docs/results/smoke.json
	$(BIN)/python -m flowvox.eval.readme docs/results/standard.json README.md

test: $(VENV)/.dev $(VENV)/.eval ## the tests
	$(BIN)/pytest -q

lint: $(VENV)/.dev $(VENV)/.eval ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test gate ## what CI runs

wheel: $(VENV)/.dev ## build dist/*.whl with the embedded bundle
	$(BIN)/python -m build --wheel --outdir dist .

refresh-tiny: $(VENV)/.export ## rebuild what is derived from models/tiny: the embedded bundle
	$(BIN)/flowvox quantize models/tiny -r embedded -o src/flowvox/data/tiny-int4 --overwrite

WORK ?= training-work
train-tiny: $(VENV)/.train ## train models/tiny from packages (hours; resumable; WORK=folder)
	for stage in corpus dataset decoder refine lm encoder pack score; do \
	  $(BIN)/python -m flowvox.reference.training $$stage --work $(WORK) --threads 2 \
	    --minutes 90 --out models/tiny || exit 1; \
	done

clean: ## remove what the other targets made
	rm -rf $(ARTIFACTS) reports dist speech.wav
