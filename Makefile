# Set-up, demo, tests and checks. `make help` lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Another package index for torch, for example one with CPU-only or CUDA builds.
TORCH_INDEX ?=
# Open data for the demo: a research archive whose index.csv has a `site` column.
DATA ?=
DEMO ?=
# Options of a benchmark, and of the study.
BENCH ?=
STUDY ?=
# Options of the privacy audit.
AUDIT ?=
# Linters and builders that the product does not need.
TOOLS ?= .tools
# Tests write through to the disk thousands of times; their files lie in memory where it holds them.
ROOM := $(shell [ "$$(df -k --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 4000000 ] && echo /dev/shm)
# One thread each: more workers than processors would wait for each other in every step.
PYTEST := OMP_NUM_THREADS=1 $(if $(ROOM),PYTEST_DEBUG_TEMPROOT=$(ROOM)) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Of a bundle: the role, the fingerprint of the OpenPGP key that signs, a folder of wheels to prefer.
ROLE ?= site
KEY ?=
WHEELS ?=

.DEFAULT_GOAL := help
.PHONY: help install tools demo test slow faults soak deployment check bundle lint-deploy study bench-intake bench-rounds bench-scale bench-masking audit-privacy bench-familiarity bench-segment bench-clinic bench-download bench-frugal bench-noise bench-hostile bench-bands bench-train format lock protos docs clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || \
		{ echo "Python 3.11 is needed; name it with make PYTHON=..."; exit 1; }
	@echo "Making the environment in $(VENV): some minutes at the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) \
		--constraint constraints.txt torch==2.13.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
		--editable '.[server,client,postgresql,single-sign-on,traces,dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true # compiled once, on all cores
	@touch $@

install: $(VENV)/installed ## Make the environment (locked versions; torch first)

$(TOOLS)/installed: deploy/tools.txt
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement deploy/tools.txt
	@touch $@

tools: $(TOOLS)/installed ## Make the environment of linters and builders, beside the product's

demo: install ## Run the main job: a coordinator and three hospitals on this machine (DATA=folder for open data)
	$(BIN)/python -m deploy.demo.run $(if $(DATA),--data $(DATA)) $(DEMO)

test: install ## Run the tests, on two cores, in less than ten minutes
	$(PYTEST)

slow: install ## Run the tests that `make test` has no time for
	$(PYTEST) -m slow

faults: install ## Run the whole fault suite (make test runs a shortened form of it)
	$(BIN)/python -m pytest tests/faults -m "long or not long"

soak: install ## An hour of three sites with a fault each minute (SOAK_MINUTES=60); prints slopes of memory and files
	SOAK_MINUTES=$${SOAK_MINUTES:-60} $(BIN)/python -m pytest tests/faults/test_soak.py -m "long or not long" \
		-o log_cli=true -o log_cli_level=INFO

deployment: install tools ## Install, run, update and uninstall for real: bundle, bare Debian, proxy, one port
	$(BIN)/python -m pytest tests/deployment -m "long or not long"

bundle: install tools ## Build the offline bundle of a role (ROLE=site KEY=fingerprint WHEELS=folder)
	$(BIN)/python -m deploy.bundle.build --role $(ROLE) --key "$(KEY)" --tools $(TOOLS) \
		$(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) $(if $(WHEELS),--wheels $(WHEELS))

lint-deploy: tools ## Lint what deploys: shell scripts, the Containerfile, compose files, Helm charts
	$(TOOLS)/bin/shellcheck deploy/bundle/setup .ci/run
	$(TOOLS)/bin/hadolint deploy/containers/Containerfile
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/containers/compose.*.yaml
	$(TOOLS)/bin/python deploy/helm/lint.py

check: install ## Formatting, lint, types, import rules, docs, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) lint-deploy
	$(MAKE) docs
	git diff --exit-code -- docs/cli.md docs/exit-codes.md
	$(MAKE) test

study: install ## Compare local, federated and pooled models by cross-validation (DATA=folder for open data); hours, goes on where it was
	$(BIN)/python -m bench.study $(if $(DATA),--data $(DATA)) $(STUDY)

audit-privacy: install ## Attack what leaves a hospital, on phantoms or DATA=folder (AUDIT='--quick --output FOLDER')
	$(BIN)/python -m bench.privacy_audit $(if $(DATA),--data $(DATA)) $(AUDIT)

bench-intake: install ## Measure the intake beside pydicom with MONAI, and beside decoding alone
	$(BIN)/python -m bench.intake

bench-rounds: install ## Measure rounds beside stock Flower and NVIDIA FLARE (BENCH='--sizes 1 8')
	$(BIN)/python -m bench.rounds $(BENCH)

bench-train: install ## Measure training beside a plain MONAI loop and nnU-Net (BENCH='--size base')
	$(BIN)/python -m bench.train $(BENCH)

bench-masking: install ## Measure what secure aggregation costs beside plain sums (BENCH='--sites 3 10')
	$(BIN)/python -m bench.masking $(BENCH)

bench-scale: install ## Measure what 10, 50 and 200 sites cost the coordinator (BENCH='--sites 10')
	$(BIN)/python -m bench.scale $(BENCH)

bench-bands: install ## Measure how well density bands are learnt (BENCH='--msynth FOLDER' adds M-SYNTH images)
	$(BIN)/python -m bench.bands $(BENCH)

bench-segment: install ## Measure how long one large mammogram takes, from the command line and in a warm process
	OMP_NUM_THREADS=2 $(BIN)/python -m bench.segment $(BENCH)

bench-download: install ## Measure our download of a model beside curl from nginx
	$(BIN)/python -m bench.download

bench-clinic: install ## Measure an exam of four large views from C-STORE to stored objects
	OMP_NUM_THREADS=2 $(BIN)/python -m bench.clinic

bench-familiarity: install ## Measure what is told apart from mammograms (DATA=folder for open data)
	$(BIN)/python -m bench.familiarity $(if $(DATA),--data $(DATA))

bench-frugal: install ## Measure what integers cost a model (DATA=folder for open data)
	$(BIN)/python -m bench.frugal $(if $(DATA),--data $(DATA)) $(BENCH)

bench-noise: install ## Measure what noise on patients costs a model (DATA=folder for open data)
	$(BIN)/python -m bench.noise $(if $(DATA),--data $(DATA)) $(BENCH)

bench-hostile: install ## Measure what one hostile site of five costs a model under each strategy (DATA=folder for open data)
	$(BIN)/python -m bench.hostile $(if $(DATA),--data $(DATA)) $(BENCH)

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## Generate docs/cli.md and docs/exit-codes.md
	$(BIN)/python -m deploy.docs.cli_reference > docs/cli.md
	$(BIN)/python -m deploy.docs.exit_codes > docs/exit-codes.md

protos: install ## Generate the gRPC code
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
		$(wildcard shared/*/*.proto)

lock: install ## Write constraints.txt from the environment
	$(BIN)/pip freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' > constraints.txt

clean: ## Remove the environment and build outputs
	rm -rf $(VENV) $(TOOLS) build dist
