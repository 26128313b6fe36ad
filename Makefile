# Everything runs through .venv by relative paths, so that the checkout may stand at a path with a space.
# Arguments are handed on: make test ARGS="-k lease"
PYTHON := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help tour lab test lint refresh bench servers setup clean

help: ## Show this list
	@echo 'imlib: the state of an IM server, made plain. Needs Python 3.11 or newer; .venv is made when first needed.'
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'Arguments are handed on: make test ARGS="-k lease"'

tour: setup ## Run every notebook on a private server and make pages of them: build/tour/index.html
	@$(PYTHON) -m tools.tour $(ARGS)

lab: setup ## Open JupyterLab on the first notebook
	@$(PYTHON) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb \
		$$(test "$$(id -u)" -ne 0 || echo --allow-root) $(ARGS)

test: setup ## Run all tests, the notebooks among them
	@$(PYTHON) -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

lint: setup ## Check style, format, types and layers
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache

refresh: setup ## Run the notebooks in place and renew their outputs, to be read and committed
	@$(PYTHON) -m tools.refresh $(ARGS)

bench: setup ## Measure against plain clients, on a real server
	@$(PYTHON) -m benchmarks $(ARGS)

servers: ## Install Debian's redis-server, mariadb-server and chromium, which the tests then use as well
	@sh tools/servers.sh

setup: ## Make or renew .venv (every other target does so by itself)
	@sh tools/setup.sh

clean: ## Remove what make has made, .venv included
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find imlib notebooks tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
