# Two commands are all a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench format lock browser redis clean
.DELETE_ON_ERROR:

demo: .venv/run  ## run Duly with its own Postgres and a stand-in for Twilio, and watch it work
	$(BIN)/duly demo

test: .venv/dev browser  ## every test
	$(BIN)/python -m pytest -n 4 --dist loadfile

bench: .venv/dev redis  ## the figures of docs/performance.md; BENCH=--quick only to see that all of it still runs
	$(BIN)/duly bench $(BENCH)

check: .venv/dev  ## style, types, the systemd units
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	sh systemd/check

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Chromium for the page's tests: the system's, or Debian's package where we may install it.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no chromium: install it, or the browser tests are skipped"

# Redis for BullMQ, one of the benchmark's peers; Debian's package would start a server of its own: keep it from that.
redis:
	@command -v redis-server >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq redis-server >/dev/null 2>&1; } \
	|| echo "no redis-server: install it, or the benchmark leaves out BullMQ"

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Duly needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	printf '#!/bin/sh\nexec "$(CURDIR)/$(BIN)/python" -m daemon "$$@"\n' > $(BIN)/duly && chmod +x $(BIN)/duly
	$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "duly.pth").write_text("$(CURDIR)\n")'
	touch $@

.venv/dev: .venv/run requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

# Written with uv (https://docs.astral.sh/uv): one lock for every platform and Python from 3.11 on.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra embedded pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra embedded --group dev pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header tests/bench/contestants/python/requirements.in -o tests/bench/contestants/python/requirements.txt
	cd tests/bench/contestants/node && npm install --silent --package-lock-only

clean:
	rm -rf .venv .duly .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
