# Caravan on one machine, or on several. `make help` says what there is.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The stack needs root: for Docker, mounts, and PostgreSQL's own user. The cache stays the caller's, and so does how the
# caller reaches package registries: proxies, certificates, mirrors.
KEPT := HOME PATH XDG_CACHE_HOME http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
  SSL_CERT_FILE SSL_CERT_DIR PIP_CERT PIP_INDEX_URL UV_DEFAULT_INDEX GOPROXY GONOSUMDB GOFLAGS \
  CARAVAN_KEEP_STACK CARAVAN_GOLDEN CARAVAN_JOIN_TOKEN
SUDO := $(if $(filter 0,$(shell id -u)),,sudo env $(foreach name,$(KEPT),$(if $($(name)),$(name)="$($(name))")))
BIN := .venv/bin
STACK := $(SUDO) $(BIN)/caravan-stack
PYTEST := $(SUDO) $(BIN)/python -m pytest
UP ?=
NODE ?=
JOIN ?=
LEAVE ?=
export CARAVAN_JOIN_TOKEN := $(TOKEN)
TESTS ?=
ROUNDS ?= 20

.PHONY: help packages venv up invite join leave expel down status clean test test-all bench bench-scheduler chaos check format proto lock

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

packages: ## Install the Debian packages that are missing
	@$(SUDO) deploy/provision/packages.sh

venv: packages ## Make .venv from requirements.lock
	@deploy/provision/python.sh

up: venv ## Start Caravan, run the main job, print its result; UP="--port manager=9091" for options
	@$(STACK) up $(UP)

invite: venv ## On a server that is up with UP="--bind ADDRESS": print what the machine NODE=name joins with
	@$(STACK) invite $(NODE)

join: venv ## Make this machine a node: TOKEN=what make invite printed; JOIN="--bind ADDRESS" for options
	@$(STACK) join $(JOIN)

leave: venv ## Take this machine out of the stack that it joined; LEAVE=--force although sessions run
	@$(STACK) leave $(LEAVE)

expel: venv ## On the server: take back the credentials of the machine NODE=name
	@$(STACK) expel $(NODE)

down: venv ## Stop Caravan and keep its data
	@$(STACK) down

status: venv ## Show what runs, where, and how it does
	@$(STACK) status

clean: venv ## Stop Caravan and remove its data
	@$(STACK) clean

test: venv ## Run the tests on a real stack of their own; TESTS="-k name" for options
	@$(PYTEST) -m "not slow and not bench" $(TESTS)

test-all: venv ## Run the tests and those that take long
	@$(PYTEST) -m "not bench" $(TESTS)

bench: venv ## Measure, and print one line a bar
	@$(PYTEST) -m bench tests/bench --ignore=tests/bench/scheduler -s $(TESTS)

bench-scheduler: venv ## Measure packing and speed of the planner; CARAVAN_OPENB=folder of the openb trace
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m bench tests/bench/scheduler -s -p no:cacheprovider $(TESTS)

chaos: venv ## Kill every service at every place, ROUNDS times (20), and print one line a bar
	@$(SUDO) env CARAVAN_CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/chaos $(TESTS)

check: venv ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: venv ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: venv ## Write the messages of Nomad's device plugins anew from nomad.proto
	@$(BIN)/python -m grpc_tools.protoc -Iagent_driver --python_out=agent_driver --pyi_out=agent_driver \
	  agent_driver/caravan_agent_driver/plugin/nomad.proto
	@sed -i 's/_Mapping\]/_Mapping[str, object]]/g' agent_driver/caravan_agent_driver/plugin/nomad_pb2.pyi

lock: venv ## Pin the libraries anew from pyproject.toml
	@deploy/provision/lock.sh
