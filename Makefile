# install: a virtual environment in .venv with everything, system packages included. Idempotent.
# demo:    rendered dataset, pretrained backbones, table and report under runs/demo.
# test:    the whole test suite, slow tests included.
# test-portable: the quick tests of all that computes, as an older processor computes it.
# lint:    ruff, mypy and the layers of imports.

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Open3D's wheel links against libusb, libgomp and the X and GL client libraries, though nothing here opens a window.
LIBRARIES := libusb-1.0-0 libgomp1 libx11-6 libgl1 libegl1
PACKAGES := python3 python3-venv $(LIBRARIES) sweethome3d-furniture
JOBS ?= $(shell nproc)
COMPUTING := detection encoders evaluation geometry losses methods metrics objectives predictors renderers scene_flow sparse \
  training weights

.PHONY: install demo test test-portable lint system clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt | system
	test -x $(BIN)/python || "$${PYTHON:-$$(command -v $(PYTHON) || command -v python3)}" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# real meshes also where this user may not install packages; without them the demo uses procedural ones, and says so
	-$(BIN)/python -c 'from equissl.datasets.meshes import install_sweethome3d; install_sweethome3d()'
	$(BIN)/equissl doctor
	touch $@

# Debian and Ubuntu: installs what is missing, where it may; elsewhere names what is needed and goes on.
system:
	@missing=""; for package in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	case "$$(command -v python3.1{1,2,3} | head -1)" in ?*) missing="$$(echo " $$missing " | sed 's/ python3-venv / /; s/ python3 / /')";; esac; \
	test -n "$${missing// /}" || exit 0; \
	if ! command -v apt-get >/dev/null; then echo "note: not a Debian system; please install the equivalents of:$$missing" >&2; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo"; else \
	  echo "note: system packages are missing and this user may not install them. Please run:" >&2; \
	  echo "  sudo apt-get update && sudo apt-get install --yes --no-install-recommends$$missing" >&2; exit 0; fi; \
	$$sudo apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install --yes --quiet --no-install-recommends $$missing

demo: install
	$(BIN)/equissl demo

test: install
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# Sums are taken in another order there, so a test that holds by one machine's rounding fails; so does a library's kernel
# for AVX2 that is at fault. Folders of tests that mostly read and write files are left out.
test-portable: install
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
	  -m 'not slow' $(addprefix tests/,$(COMPUTING))

# mypy reads the sources in the layout in which they are installed: a tree of links, because `datasets` is `equissl.datasets`.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/lint && mkdir -p build/lint/equissl
	ln -s $(CURDIR)/equissl/* build/lint/equissl/
	ln -s $(CURDIR)/datasets build/lint/equissl/datasets
	ln -s $(CURDIR)/renderers build/lint/equissl/renderers
	ln -s $(CURDIR)/configs build/lint/equissl/configs
	cd build/lint && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p equissl
	rm -rf build/layers && mkdir -p build/layers && cp -rL build/lint/equissl build/layers/equissl
	cd build/layers && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports $(CURDIR)/pyproject.toml --no-cache

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache *.egg-info
