# make help lists the targets; VENV and PYTHON can be set on the command line.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

TWO := hydra/launcher=joblib hydra.launcher.n_jobs=2
SIX := outputs/train/six/checkpoints/last.ckpt

.DEFAULT_GOAL := help
.PHONY: help install demo train table3 transfer report test test-slow test-real test-gpu lint docs gallery coverage trust notebooks bench bench-gpu tensorboard clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## a virtual environment in .venv with everything, at the pinned versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev,sweep]" --constraint constraints.txt
	@touch $@

demo: $(INSTALLED)  ## train ZFNet on the embedded data set, with pictures and a TensorBoard log (minutes)
	$(BIN)/python train.py experiment=demo name=demo

train: $(INSTALLED)  ## train.py with ARGS, as in: make train ARGS="model=alexnet data=folder data.root=photos"
	$(BIN)/python train.py $(ARGS)

table3: $(INSTALLED)  ## Table 3 on the embedded data set, two nets at a time; goes on with what was stopped
	$(BIN)/python train.py experiment=table3_alexnet $(TWO)
	$(BIN)/python train.py experiment=table3_zfnet $(TWO)

transfer: $(INSTALLED)  ## Tables 4 and 7 on the embedded data set: from six classes to the six others
	$(BIN)/python train.py experiment=pretrain_creatures name=six resume=true
	$(BIN)/python train.py experiment=transfer_creatures $(TWO)
	$(BIN)/python analyze.py analysis=layer_probe ckpt=$(SIX) data=creatures_few folds=3 name=layer_probe resume=true

report: $(INSTALLED)  ## all runs beside the paper's numbers, in outputs/analysis/report/report.html
	$(BIN)/python analyze.py analysis=report name=report resume=true

test: $(INSTALLED)  ## the default tests, on both cores
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 15

test-slow: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-real: $(INSTALLED)  ## the tests on real photos: ZFNET_REAL_DATA=folder make test-real
	$(BIN)/python -m pytest -m real

test-gpu: $(INSTALLED)  ## the GPU against the CPU; skips without a GPU
	$(BIN)/python -m pytest -m gpu tests/gpu

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)  ## the documentation as HTML, in docs/_build; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

gallery: $(INSTALLED)  ## every figure of docs/gallery, by the commands on its page (half an hour)
	$(BIN)/python docs/gallery/make.py

coverage: $(INSTALLED)  ## checks one model of each family of timm and torchvision, about two hours
	$(BIN)/python -m tests.coverage docs/coverage.md

trust: $(INSTALLED)  ## trains and measures one small network of each family for docs/trust.md (an hour)
	$(BIN)/python -m tests.trust docs/trust.md

notebooks: $(INSTALLED)  ## run the notebooks of docs/notebooks and store their outputs (minutes)
	$(BIN)/python docs/notebooks/execute.py docs/notebooks/what_excites_this_unit.ipynb
	$(BIN)/python docs/notebooks/execute.py docs/notebooks/from_alexnet_to_zfnet.ipynb

bench: $(INSTALLED)  ## every hot path beside a named peer: ours, peer, ratio, goal
	$(BIN)/python -m benchmarks

bench-gpu: $(INSTALLED)  ## training, search, occlusion and projections on one GPU (minutes)
	$(BIN)/python -m benchmarks.on_gpu

tensorboard: $(INSTALLED)  ## TensorBoard on outputs/
	$(BIN)/tensorboard --logdir outputs --samples_per_plugin images=1000

clean:  ## caches and the environment go; outputs/ stays
	rm -rf $(VENV) build dist docs/_build docs/jupyter_execute .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
