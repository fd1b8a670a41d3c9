# What each target is for stands in CONTRIBUTING.md.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
SYSTEM_PACKAGES := $(shell grep -v '^\#' tests/system/packages.txt)
PIP := PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet --no-input

.PHONY: run test test-system system-packages check docs messages screenshots clean

run: $(VENV)/.installed
	NODE_ENV=$${NODE_ENV:-dev} exec $(BIN)/twistd --nodaemon --pidfile= fxa-auth

test: $(VENV)/.installed-test
	$(BIN)/python -m twisted.trial --reporter=text tests
	$(BIN)/python -m pytest --quiet tests

test-system: $(VENV)/.installed-test
	@missing=$$(dpkg-query --show --showformat '$${db:Status-Status} $${Package}\n' $(SYSTEM_PACKAGES) 2>&1 | grep -v '^installed '); \
	test -z "$$missing" || { echo "make test-system: not everything is installed ($$missing); run: make system-packages" >&2; exit 1; }
	FXA_TEST_SYSTEM=1 $(BIN)/python -m twisted.trial --reporter=text tests.system

# Without a configuration of its own, Postfix is installed and not started.
system-packages:
	echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(SYSTEM_PACKAGES)

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
	FXA_TEST_SYSTEM=1 $(BIN)/python -m twisted.trial --reporter=text tests.system.test_screenshots

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
