# make demo    the program at work on a sample: in its window, or without a display as pictures in demo-output/
# make test    everything that must pass: make lint, then the tests (PYTEST_ARGS="-k solvers" to choose; "-n 0" for one process)
# make lint    ruff, mypy and the import contracts
# make pictures    the pictures of README and docs
# make clean   removes what the tools left; make distclean removes .venv as well
# make constraints    brings constraints.txt up to date
#
# Each sets up first what it needs: system libraries (Debian and its kin), then .venv at the versions in constraints.txt.
# HEADLESS=1 draws on a virtual display even where there is a real one; PYTHON=python3.12 makes .venv with that Python.

SHELL := /bin/sh
export VENV ?= .venv
export PYTHON
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

# Elsewhere than on Linux a window needs neither variable.
ifeq ($(shell uname -s)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)
HEADLESS ?= 1
endif
ifneq ($(filter-out 0,$(HEADLESS)),)
# Mesa's software renderer, on an X server in memory: Qt must not be left on its "offscreen" platform, which has no OpenGL.
ON_DISPLAY := env -u WAYLAND_DISPLAY QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX"
SYSTEM_ARGS := --headless
DEMO_ARGS := --headless --output demo-output
endif

.PHONY: help demo test lint clean distclean constraints pictures system
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: system $(VENV)/.set-up-to-run
	$(ON_DISPLAY) $(BIN)/napari-dipr demo $(DEMO_ARGS)

test: system lint
	$(ON_DISPLAY) $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.set-up-to-develop
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

system:
	@tools/setup system $(SYSTEM_ARGS)

# Who develops can run it too. The system's part goes first: without it the rest is of no use, and it is quick.
$(VENV)/.set-up-to-run: pyproject.toml constraints.txt | system
	@tools/setup python all
	@touch $@

$(VENV)/.set-up-to-develop: pyproject.toml constraints.txt | system
	@tools/setup python all,train,bench,dev
	@touch $@ $(VENV)/.set-up-to-run

pictures: system $(VENV)/.set-up-to-run
	$(ON_DISPLAY) $(BIN)/python docs/pictures.py
	$(ON_DISPLAY) $(BIN)/python docs/tour.py

constraints: TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)
constraints:
	tools/setup constraints $(TORCH)

clean:
	rm -rf build dist demo-output .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
