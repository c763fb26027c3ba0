# Every target makes .venv when it is missing. `make demo` needs Python 3.11 and make, nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
AXE := $(if $(shell command -v npm),tests/browser/node_modules)
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Folder or page with PyTorch's builds for the CPU: those of the ordinary index bring several GB for graphics cards.
TORCH ?=

.PHONY: demo test screenshots check lint bench lock clean

demo: .venv/.runtime
	$(BIN)/cardea demo

# Three at a time on two cores: most tests wait for a server, a camera or a fault to be noticed. Those that train have
# one thread each: with more than cores, PyTorch's threads wait for each other, and twenty seconds become three minutes.
test: .venv/.dev $(AXE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

# Leaves the best pictures of the dashboard in examples/screens.
screenshots: .venv/.dev
	$(BIN)/python -m pytest tests/browser/test_dashboard.py --screens examples/screens

check: lint
	$(BIN)/mypy

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/.runtime
	$(BIN)/cardea bench cameras

# The locks name versions and hashes, never a host.
lock: .venv/.runtime
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --extra build pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --extra build --extra dev pyproject.toml -o requirements-dev.txt
	printf '%s\n' torch==2.13.0+cpu scikit-learn torch-pruning catboost lightgbm xgboost-cpu \
		| $(BIN)/uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --find-links "$(TORCH)" --constraint requirements-dev.txt - -o requirements-train.txt

.venv/.runtime: requirements.txt pyproject.toml
	@echo "Setting up .venv: about 630 MB, a minute or two, once."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --progress-bar on --require-hashes -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt
	$(PIP) install --progress-bar on --require-hashes -r requirements-dev.txt
	touch $@

# What training and compression need beside that: PyTorch for the CPU and libraries of learning, 400 MB of packages.
# Tests of training say so and skip where they are missing.
.venv/.train: .venv/.dev requirements-train.txt
	$(PIP) install --progress-bar on --require-hashes $(if $(TORCH),--find-links "$(TORCH)") -r requirements-train.txt \
		|| { echo "PyTorch's builds for the CPU are not on the ordinary index: name their page or folder, TORCH=WHERE" >&2; exit 1; }
	touch $@

# The accessibility checker of the browser tests; where there is no npm, those tests say so.
tests/browser/node_modules: tests/browser/package-lock.json
	npm ci --prefix tests/browser --silent
	touch $@

clean:
	rm -rf .venv build *.egg-info
