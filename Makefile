# make demo    the environment, then fit, test and predict real handwritten digits
# make test    the environment, then all tests
# make faults  the tests that kill runs, tear files and fill disks, whole trainings, and tests of many new processes;
#              `make faults-all` does the former much longer
# make lint    ruff and mypy
# make dist    wheel and sdist in dist/, and the quick tests, from the sdist, of the installed wheel
# make docs    the documentation site, in site/html; nothing is fetched from elsewhere
# make bench   the benchmarks; writes benchmarks/RESULTS.md and the README's table. ROUNDS=2 only tries them

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DIGITS := examples/digits/config.yaml
BENCHMARKS := step_overhead loops reliability saves ddp_overhead gpu_step startup config_scale predict_writers memory experiments

.PHONY: demo test test-fast faults faults-all lint format docs dist bench clean

demo: $(READY)
	$(BIN)/lighter fit $(DIGITS)
	$(BIN)/lighter test $(DIGITS) --ckpt_path best
	$(BIN)/lighter predict $(DIGITS) --ckpt_path best

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not faults and not long"

faults: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "faults or long"

faults-all: $(READY)
	$(BIN)/python -m tests.faults.all

test-fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not faults and not long"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	mkdir dist/check
	tar --extract --gzip --file dist/*.tar.gz --strip-components 1 --directory dist/check
	$(PYTHON) -m venv dist/check/.venv
	dist/check/.venv/bin/pip install --quiet --constraint constraints.txt "$$(ls dist/*.whl)[dev]"
	cd dist/check && .venv/bin/python -m pytest -n 2 --dist worksteal -m "not slow and not faults and not long"
	rm -rf dist/check

docs: $(READY)
	$(BIN)/python -m scripts.docs_site
	$(BIN)/zensical build --strict
	@echo "Read it, with search: python3 -m http.server --directory site/html"

bench: $(READY)
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py $(if $(ROUNDS),--rounds $(ROUNDS)) || exit; done

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000 --prefix $(VENV)/node yaml-language-server@1.25.0 || true; fi
	touch $(READY)

clean:
	rm -rf $(VENV) site .cache .mypy_cache .ruff_cache .pytest_cache
