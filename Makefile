# Everything works on a fresh clone: each target first brings the checkout into the state that it needs (.ci/setup).
#   PYTHON=python3.12   the interpreter        VENV=.venv-3.12   the virtual environment        ARGS=...   passed on

VENV ?= .venv
export VENV
BIN := $(VENV)/bin
LOCK_VENV := build/lock
LOCK_TOOL := uv==0.13.9
FAULTS := tests/faults tests/flows/test_workers.py tests/flows/test_limits_over_processes.py tests/flows/test_traces.py \
          tests/flows/test_lifecycle.py tests/flows/test_names.py tests/flows/test_garbage.py tests/net/test_random_tunnels.py
COMPILE := $(LOCK_VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# Also if the environment sets it: tests start the gateway hundreds of times, and each would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check abuse fuzz faults soak bench bench-full smoke fmt chart manifests scan lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start the gateway on 127.0.0.1:3128 with config/quickstart.yaml
	@.ci/setup run
	@exec $(BIN)/egress-gateway run -c config/quickstart.yaml $(ARGS)

test: ## run the tests (as root it installs the client programs that they start)
	@.ci/setup test
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: ## format, lint, types, import contracts, house rules
	@.ci/setup check
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --quiet tests/architecture

abuse: ## the whole abuse suite against the gateway and against an open proxy (PROXY=HOST:PORT for another proxy)
	@.ci/setup test
	@$(if $(PROXY),$(BIN)/python -m tests.abuse --proxy $(PROXY) $(ARGS),ABUSE_EVERY=1 $(BIN)/python -m pytest tests/abuse $(ARGS))

fuzz: ## fuzz every parser of untrusted bytes, guided by coverage (SECONDS=60 in total)
	@.ci/setup fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

faults: ## inject faults at full size: processes, disk, names, network, clients (as root; about ten minutes)
	@.ci/setup test
	@FAULTS=long $(BIN)/python -m pytest $(FAULTS) $(ARGS)

soak: ## mixed traffic, during which nothing may grow (SECONDS=600)
	@.ci/setup test
	@$(BIN)/python -m tests.faults.soak --seconds $(or $(SECONDS),600) $(ARGS)

bench: ## benchmark the gateway, squid and tinyproxy (as root it installs them)
	@.ci/setup bench
	@$(BIN)/python -m benchmarks $(ARGS)

bench-full: ## benchmark the gateway and all other proxies, into benchmarks/report (about an hour)
	@.ci/setup bench
	@$(BIN)/python -m benchmarks --only all --proxies all --publish benchmarks/report $(ARGS)

smoke: ## fetch one package each with pip, npm and apt through the gateway
	@.ci/setup test
	@$(BIN)/python -m tests.smoke $(ARGS)

fmt: ## format and sort imports
	@.ci/setup check
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix --select I .

chart: ## regenerate files of the Helm chart: values.schema.json, needed.txt, and the copies of alerts and dashboard
	@.ci/setup check
	@mkdir -p build
	@$(BIN)/python -m helm.values_schema helm/egress-gateway/values.yaml >build/values.schema.json
	@mv build/values.schema.json helm/egress-gateway/values.schema.json
	@$(BIN)/python -m helm.values_schema helm/egress-gateway/values.yaml --needed >build/needed.txt
	@mv build/needed.txt helm/egress-gateway/files/needed.txt
	@cp config/observability/alerts.yaml config/observability/dashboard.json helm/egress-gateway/files/

manifests: ## render the chart into build/manifests, one file per object (ARGS="--values mine.yaml", NAME=, NAMESPACE=)
	@.ci/setup chart
	@$(BIN)/python -m helm.manifests build/manifests --name $(or $(NAME),egress-gateway) \
	  --namespace $(or $(NAMESPACE),egress-gateway) $(ARGS)

scan: ## run checkov on the image and on everything that the chart renders (installs it; ten minutes the first time)
	@.ci/setup scan
	@$(BIN)/python -m tests.chart.scan build/scan/bin/checkov

lock: ## resolve pyproject.toml into requirements*.txt (UPGRADE=--upgrade for the newest)
	@.ci/setup check
	@$(BIN)/python -m venv $(LOCK_VENV) && $(LOCK_VENV)/bin/pip install --quiet $(LOCK_TOOL)
	@$(COMPILE) $(UPGRADE) pyproject.toml --output-file requirements.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) $(UPGRADE) --group peers --output-file tests/peers/requirements.txt
	@$(COMPILE) $(UPGRADE) --group chart --no-deps --output-file tests/chart/requirements.txt
	@$(COMPILE) $(UPGRADE) --group scan --output-file tests/chart/scan-requirements.txt
	@$(COMPILE) $(UPGRADE) --group bench-peers --output-file benchmarks/proxies/requirements.txt
	@$(COMPILE) $(UPGRADE) --group fuzz --output-file tests/fuzz/requirements.txt
	@$(COMPILE) $(UPGRADE) --group build --output-file requirements-build.txt
	@rm -rf $(LOCK_VENV)

clean: ## remove everything that was built, including the virtual environment
	@rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
