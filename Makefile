# `make test` is all that a change has to pass; see CONTRIBUTING.md.

VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
STAMP  := $(VENV)/.dev-requirements

.PHONY: test lint types bytecode format bench fuzz soak docs dist single deb pins clean

# Six at a time, as they wait more than they compute; one file or test is quicker by `.venv/bin/python -m pytest tests/unit/...`.
test: lint
	@$(MAKE) --no-print-directory -j 2 types bytecode
	$(BIN)/python -m pytest -n 6 --dist worksteal $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Of the tests, once in a new checkout: each of the six would compile all of them for itself.
bytecode: $(STAMP)
	@[ -d tests/unit/__pycache__ ] || $(BIN)/python -m pytest -qq --collect-only >/dev/null || true

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# npserver side by side with its peers: `make bench ARGS="--quick"`, `make bench ARGS="static-small"`.
bench: $(STAMP)
	$(BIN)/python -m bench $(ARGS)

# One parser, fed with broken input: `make fuzz ARGS="chunked --seconds 60"`.
fuzz: $(STAMP)
	PYTHONPATH=src $(BIN)/python -m fuzz.$(ARGS)

# Full load of all kinds while things go wrong: `make soak ARGS="--minutes 5"`; an hour without.
soak: $(STAMP)
	PYTHONPATH=src $(BIN)/python -m soak $(ARGS)

# Pages and pictures generated from the code: the configuration reference, the picture in the README.
docs: $(STAMP)
	PYTHONPATH=src $(BIN)/python -m docs

# The source distribution and the wheel, in dist/.
dist: $(STAMP)
	$(BIN)/python -m deploy.dist

# npserver in one file, with all requirements, for machines like this one: dist/npserver-VERSION-MACHINE.
single: $(STAMP)
	PYTHONPATH=src $(BIN)/python -m deploy.single

# A package for Debian and Ubuntu, with all requirements, for machines like this one.
deb: $(STAMP)
	PYTHONPATH=src $(BIN)/python -m deploy.deb

# The pinned requirements, made from pyproject.toml: the hash of every wheel, and no package index.
PIN := $(BIN)/python -m piptools compile --quiet --generate-hashes --no-header --no-annotate --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options pyproject.toml
pins: $(STAMP)
	$(BIN)/python -m pip install --quiet pip-tools
	$(PIN) --output-file requirements.txt
	$(PIN) --extra dev --output-file requirements-dev.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

# The launcher makes .venv when it is missing, and brings it up to date when the pins change. The packages that only
# development needs are added to it here.
$(STAMP): requirements-dev.txt requirements.txt
	@./npserver -version
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
