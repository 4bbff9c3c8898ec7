# make demo    the environment, then fit, test and predict real handwritten digits
# make test    the environment, then all tests
# make faults  the tests that kill runs, tear files and fill disks; `make faults-all` does so much longer
# make lint    ruff and mypy
# make bench   the benchmarks; writes benchmarks/RESULTS.md and the README's table. ROUNDS=2 only tries them

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DIGITS := examples/digits/config.yaml
BENCHMARKS := step_overhead loops reliability saves ddp_overhead gpu_step startup config_scale predict_writers memory

.PHONY: demo test test-fast faults faults-all lint format bench clean

demo: $(READY)
	$(BIN)/lighter fit $(DIGITS)
	$(BIN)/lighter test $(DIGITS) --ckpt_path best
	$(BIN)/lighter predict $(DIGITS) --ckpt_path best

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not faults"

faults: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m faults

faults-all: $(READY)
	$(BIN)/python -m tests.faults.all

test-fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not faults"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py $(if $(ROUNDS),--rounds $(ROUNDS)) || exit; done

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
