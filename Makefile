# flowvox: `make help` lists the targets. Each one sets up what it needs by itself.
PYTHON ?= python3
VENV ?= .venv
CHECKPOINT ?= models/tiny
ARTIFACTS ?= artifacts
# Calibrated recipes take minutes with the small model and hours with a large one.
CALIBRATED = $(if $(filter models/tiny,$(CHECKPOINT)),int4-best int4-tuned int4-mixed small embedded)
RECIPES ?= fp32 fp16 int8 int4 int4-cpu int4-gpu $(CALIBRATED)
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
.PHONY: help setup quantize say bench eval gate results samples tables test lint check wheel \
  refresh-tiny refresh-first refresh-more pretrain-tiny space-tiny train-tiny clean

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
	@$(BIN)/python -m flowvox.eval.sizes $(BUNDLES) $(GGUFS)

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
GATE_SUITE = smoke

eval: $(VENV)/.eval $(BUNDLES) ## what was lost: SUITE (standard) on all bundles, into reports/
	$(BIN)/flowvox eval $(BUNDLES) --baseline $(BASELINE) --suite $(SUITE) -o reports/$(NAME)-$(SUITE)

gate: $(VENV)/.eval $(BASELINE) $(GATED) ## red if int8 or int4 of the small model lose more than their budget
	$(BIN)/flowvox eval $(GATED) --baseline $(BASELINE) --suite $(GATE_SUITE) -o reports/gate
	$(BIN)/flowvox gate reports/gate/report.json --budget eval/budgets/$(GATE_SUITE).yaml

# What other tools make of the same weights.
$(foreach recipe,int8-dynamic nf4 fp4,$(ARTIFACTS)/$(NAME)-$(recipe)): | $(VENV)/.compare

# A report for the documentation: $(call measured,NAME,ARTIFACTS,SUITE AND OPTIONS).
measured = $(BIN)/flowvox eval $(2) --baseline $(BASELINE) --suite $(3) -o reports/$(1) && \
  $(BIN)/python -m flowvox.eval.keep reports/$(1) docs/results/$(1)

# 140: every sentence of `standard` once, voices in turn.
MOST ?= 140
RESULTS = $(foreach recipe,fp32 int8 int4 int4-best int4-tuned int4-mixed small embedded,$(ARTIFACTS)/$(NAME)-$(recipe))
results: $(VENV)/.eval $(BASELINE) $(RESULTS) ## measure the main recipes again: docs/results/ and the tables
	$(call measured,standard,$(CHECKPOINT) $(RESULTS),standard --most $(MOST))
	$(MAKE) tables

tables: $(VENV)/.eval ## the tables in the documentation, from docs/results/
	$(BIN)/python -m flowvox.eval.tables README.md docs/*.md

SAMPLED = $(foreach recipe,fp32 int8 int4,$(ARTIFACTS)/$(NAME)-$(recipe))
samples: $(VENV)/.eval $(SAMPLED) ## docs/audio: the same sentences by every voice in fp32, int8 and int4
	$(BIN)/python -m flowvox.eval.samples $(SAMPLED) -o docs/audio

test: $(VENV)/.dev $(VENV)/.eval ## the tests
	$(BIN)/pytest -q

lint: $(VENV)/.dev $(VENV)/.eval ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test gate ## what CI runs

wheel: $(VENV)/.dev ## build dist/*.whl with the embedded bundle
	$(BIN)/python -m build --wheel --outdir dist .

# After models/tiny was replaced. Each part leaves a mark, and speech and scores are kept by content, so
# that a run that was interrupted goes on. One part after the other: some measure speed.
REFRESHED = $(ARTIFACTS)/refreshed
WEIGHTS = models/tiny/consolidated.safetensors models/tiny/params.json
FIRST = bundle budget recipes results samples
MORE = gguf others tuned solvers methods

refresh-tiny: ## make all anew that is derived from models/tiny: what is needed first, then the rest
	$(MAKE) refresh-first
	$(MAKE) refresh-more

refresh-first: ## the embedded bundle, the gate's budget, recipes by allocation, results and README, samples
	for part in $(FIRST); do $(MAKE) $(REFRESHED)/$$part || exit $$?; done

refresh-more: ## more results, tables of GGUF files, sampling and methods
	for part in $(MORE); do $(MAKE) $(REFRESHED)/$$part || exit $$?; done

$(REFRESHED)/bundle: $(WEIGHTS) src/flowvox/recipes/embedded.yaml | $(VENV)/.export
	$(BIN)/flowvox quantize models/tiny -r embedded -o src/flowvox/data/tiny-int4 --overwrite
	$(marked)

# Limits come from three runs, each with other seeds.
$(REFRESHED)/budget: $(BASELINE) $(GATED) eval/suites/$(GATE_SUITE).yaml | $(VENV)/.eval
	for seeds in 0,1 2,3 4,5; do \
	  $(BIN)/flowvox eval $(GATED) --baseline $(BASELINE) --suite $(GATE_SUITE) --seeds $$seeds \
	    -o reports/budget-$$seeds || exit $$?; \
	done
	$(BIN)/flowvox gate reports/budget-*/report.json --calibrate --budget eval/budgets/$(GATE_SUITE).yaml
	$(marked)

$(REFRESHED)/results: $(BASELINE) $(RESULTS)
	$(MAKE) results
	$(marked)

$(REFRESHED)/samples: $(SAMPLED)
	$(MAKE) samples
	$(marked)

$(REFRESHED)/recipes: $(WEIGHTS) | $(VENV)/.export
	$(BIN)/python -m flowvox.quantizers.allocation.shipped models/tiny -o src/flowvox/recipes
	$(marked)

GGUF_TABLE = $(foreach type,fp16 q8_0 q6_k q5_k q4_k q4_0,$(ARTIFACTS)/$(NAME)-$(type).gguf)
$(REFRESHED)/gguf: $(BASELINE) $(GATED) $(GGUF_TABLE) | $(VENV)/.eval
	$(call measured,gguf,$(GGUF_TABLE) $(GATED),standard --most 24)
	$(MAKE) tables
	$(marked)

OTHERS = $(foreach recipe,int4-cpu int4-cpu-best int4-vnni int4-vnni-best int8-cpu int4-gpu int4-gpu-small \
  fp16-gpu int8-dynamic nf4 fp4,$(ARTIFACTS)/$(NAME)-$(recipe))
$(REFRESHED)/others: $(BASELINE) $(GATED) $(OTHERS) | $(VENV)/.eval
	$(call measured,others,$(GATED) $(OTHERS),standard --most 24)
	$(MAKE) tables
	$(marked)

# Every sentence by every voice: four bits against what another seed does.
$(REFRESHED)/tuned: $(BASELINE) $(ARTIFACTS)/$(NAME)-int4-tuned | $(VENV)/.eval
	$(call measured,tuned,$(ARTIFACTS)/$(NAME)-int4-tuned,standard --most 560)
	$(marked)

$(REFRESHED)/solvers: $(BASELINE) $(GATED) | $(VENV)/.eval
	$(BIN)/flowvox eval $(GATED) --baseline $(BASELINE) --suite standard --most 48 --sweep -o reports/solvers
	cp reports/solvers/sweep.json docs/solvers.json
	$(BIN)/python -m flowvox.eval.sweep_table docs/solvers.json docs/solvers.md
	$(marked)

# Every method and other people's tools, then what is lost at which size; after the recipes.
$(REFRESHED)/methods: $(WEIGHTS) | $(VENV)/.eval $(VENV)/.compare
	$(BIN)/python -m flowvox.eval.methods models/tiny -o docs/results
	$(BIN)/python -m flowvox.eval.methods.front models/tiny -o docs/results
	$(marked)

marked = @mkdir -p $(REFRESHED) && touch $@

WORK ?= training-work
TRAIN = $(BIN)/python -m flowvox.reference.training
# What wants a GPU: minutes on one H100. On processors alone it takes days.
pretrain-tiny: $(VENV)/.train ## the language model on hundreds of voices (minutes on a GPU; WORK=folder)
	mkdir -p $(WORK) && cp -n reference/training/pretraining.json $(WORK)/params.json
	$(TRAIN) corpus --work $(WORK)
	$(TRAIN) teacher --work $(WORK)
	$(TRAIN) speech --work $(WORK) --minutes 1.5
	$(TRAIN) semantics --work $(WORK)
	$(TRAIN) align --work $(WORK)
	$(TRAIN) codec --work $(WORK) --minutes 2.4 --batch 32
	$(TRAIN) encode --work $(WORK)
	$(TRAIN) lm --work $(WORK) --minutes 4.8 --positions 16000
	$(TRAIN) decoder --work $(WORK) --minutes 4.8 --batch 16
	$(TRAIN) export --work $(WORK)

space-tiny: $(VENV)/.train ## another space for the acoustic values of train-tiny (minutes; WORK=folder)
	$(TRAIN) locked-space --work $(WORK) --sentences 8000
	cp $(WORK)/space/code_space.npz reference/training/locked/code_space.npz

# Beside each other on one core each, or one after the other on both: the minutes are of two cores.
train-tiny: $(VENV)/.train ## models/tiny from what pretrain-tiny left in WORK (seven hours on two cores)
	$(TRAIN) locked --work $(WORK) --sentences 111290
	$(TRAIN) locked-front --work $(WORK) --minutes 20 --sentences 8000
	$(TRAIN) locked-decoder --work $(WORK) --minutes 40 --sentences 8000
	$(TRAIN) adapt --work $(WORK) --minutes 220
	$(TRAIN) locked-encoder --work $(WORK) --minutes 40
	$(TRAIN) locked-export --work $(WORK)
	$(TRAIN) pack --work $(WORK) --out models/tiny
	$(TRAIN) score --work $(WORK) --out models/tiny

clean: ## remove what the other targets made
	rm -rf $(ARTIFACTS) reports dist speech.wav
