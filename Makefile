# What each target is for stands in CONTRIBUTING.md.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet --no-input

.PHONY: run test check docs messages screenshots clean

run: $(VENV)/.installed
	NODE_ENV=$${NODE_ENV:-dev} exec $(BIN)/twistd --nodaemon --pidfile= fxa-auth

test: $(VENV)/.installed-test
	$(BIN)/python -m twisted.trial --reporter=text tests
	$(BIN)/python -m pytest --quiet tests

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/coverage erase
	$(BIN)/coverage run -m twisted.trial --reporter=text tests
	$(BIN)/coverage run -m pytest --quiet tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	PYTHON=$(abspath $(BIN)/python) tools/check_installs.sh

docs: $(VENV)/.installed
	$(BIN)/fxa-auth config reference > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

messages: $(VENV)/.installed
	$(BIN)/python tools/messages.py

screenshots: $(VENV)/.installed-test
	$(BIN)/python -m twisted.trial --reporter=text tests.system.screenshots

clean:
	rm -rf build dist *.egg-info _trial_temp* .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache locales/*/LC_MESSAGES/*.mo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An install is repeated when setup.py has changed; the package itself is used where it stands.
$(VENV)/.installed: setup.py | $(BIN)/python
	$(PIP) install --editable .
	touch $@

$(VENV)/.installed-test: setup.py | $(BIN)/python
	$(PIP) install --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: setup.py | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-test
