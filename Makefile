# make demo    a whole deployment on this machine, from nothing to a streamed answer
# make test    everything that CI runs
# make sglang-cpu   real SGLang, Dynamo and NIXL on the CPU (3.7 GB, .venv-sglang)
# make dynamo-serve a real ai-dynamo 0.3.2 (301 MB, .venv-dynamo-032) started by `dynamo serve`
# make setup   .venv with all that both need; quick when nothing changed
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: sglang-cpu dynamo-serve setup demo test lint bench golden clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit("sgl-launch needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[local,test]'
	@touch $@

demo: setup
	@$(BIN)/python tools/demo.py

# The drills have limits in seconds, so they run alone. What starts processes gets a second try on a
# machine that is busy with something else; a second try is listed at the end.
test: setup
	@tests/install.sh || echo "make test: some tests will be skipped (see above)" >&2
	$(BIN)/ruff check launcher warmup tests tools benchmarks
	$(BIN)/mypy launcher warmup
	$(BIN)/pytest -n 2 --dist loadfile --reruns 1 --ignore tests/faults
	$(BIN)/pytest --reruns 2 tests/faults

.venv-sglang/.ready:
	tools/sglang-cpu/setup.sh .venv-sglang

sglang-cpu: setup .venv-sglang/.ready
	$(BIN)/python tools/sglang-cpu/compare.py

.venv-dynamo-032/.ready:
	$(PYTHON) -m venv .venv-dynamo-032
	.venv-dynamo-032/bin/python -m pip install --quiet ai-dynamo==0.3.2 uvicorn
	@touch $@

dynamo-serve: setup .venv-dynamo-032/.ready
	SGL_LAUNCH_DYNAMO_032=$(CURDIR)/.venv-dynamo-032/bin/python $(BIN)/pytest tests/shapes/test_dynamo_serve.py

lint: setup
	$(BIN)/ruff check launcher warmup tests tools benchmarks
	$(BIN)/mypy launcher warmup

golden: setup
	$(BIN)/pytest tests/unit --update-golden

bench: setup
	$(BIN)/python benchmarks/cli.py
	$(BIN)/python benchmarks/local_start.py
	$(BIN)/python benchmarks/heartbeat.py

clean:
	rm -rf $(VENV) runs dist build .slurm-test
