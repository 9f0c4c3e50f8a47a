# `make` alone prints what there is. Nothing has to be activated: every command runs in $(VENV).
#
# Names in this file are upper case, because a lower-case one would be overwritten by an
# override of the same name: `make hw1 level=strong` sets make's variable `level`.

VENV ?= .venv
PORT ?= 6006
STAMP := $(VENV)/.complete
HLML ?= $(VENV)/bin/hlml
OURS := ARGS PORT PYTHON VENV HLML
# Test files run one a core, so that a file's fixtures are made once; pytest's own -n 0 or --pdb in
# ARGS puts them back into one process.
PYTEST := -m pytest -n auto --dist loadfile

# A homework is there when it has a config: configs/homework/hw1.yaml or configs/homework/hw1/.
HOMEWORKS := $(sort $(basename $(notdir $(wildcard configs/homework/hw?.yaml configs/homework/hw?))))

# NAME=VALUE words of the command line, in the order they were typed and quoted for the shell.
# Make keeps them last first, with a backslash before blanks and backslashes, and dollars twice.
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
TAB := $(EMPTY)	$(EMPTY)
REVERSE = $(if $1,$(call REVERSE,$(wordlist 2,$(words $1),$1)) $(firstword $1))
HIDE = $(subst \$(TAB),:tab:,$(subst \$(SPACE),:space:,$(subst \\,:backslash:,$1)))
SHOW = $(subst :backslash:,\,$(subst :space:,$(SPACE),$(subst :tab:,$(TAB),$1)))
QUOTE = '$(subst ','\'',$1)'
TYPED := $(filter-out $(OURS:=%) $(OURS:=:%),$(call HIDE,$(subst $$$$,$$,$(MAKEOVERRIDES))))
OVERRIDES := $(foreach W,$(call REVERSE,$(TYPED)),$(call QUOTE,$(call SHOW,$W)))
# They are for hlml, not for its environment; and make would try to expand a ${name} in them.
unexport $(foreach V,$(.VARIABLES),$(if $(findstring command line,$(origin $V)),$V))

ifneq ($(filter hw%,$(MAKECMDGOALS)),)
  STRAY := $(filter-out hw1 hw2 hw3 hw4 hw5 hw6,$(MAKECMDGOALS))
  ifneq ($(STRAY),)
    $(error $(firstword $(STRAY)) is not NAME=VALUE (anything else for hlml goes into ARGS="..."))
  endif
endif

.DEFAULT_GOAL := help
.PHONY: help hw1 hw2 hw3 hw4 hw5 hw6 test check format bench tensorboard lock clean

help: ## print this
	@echo 'make TARGET [NAME=VALUE ...]'
	@awk -F ':.*## ' -v there='$(HOMEWORKS)' '/^[a-z0-9]+:.*## / \
	    && ($$1 !~ /^hw/ || index(there, $$1)) { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'Every NAME=VALUE changes the homework, for example'
	@echo "  make hw1 level=strong optimizer.lr=0.01 trainer.epochs=5 'data.lags=[1,7]'"
	@echo '  make hw1 ARGS="-m seed=1,2,3"       three runs;  ARGS="--cfg job": show all settings'
	@echo '  $(HLML) --help       evaluate, predict and compare runs'

hw1: ## regression: train, measure against the baselines, draw
hw2: ## phonemes of speech, frame by frame
hw3: ## pictures of food: a convolutional network
hw4: ## who is speaking: self-attention
hw5: ## one sequence into another: a Transformer
hw6: ## faces from noise: a GAN
$(HOMEWORKS): hw%: $(STAMP)
	@exec $(HLML) train homework=hw$* $(OVERRIDES) $(ARGS)
$(filter-out $(HOMEWORKS),hw1 hw2 hw3 hw4 hw5 hw6):
	@echo '$@ is not there yet; what is: $(or $(HOMEWORKS),none)' >&2; exit 2

test: $(STAMP) ## the tests (ARGS="-k wheel -x": pytest's own options)
	@exec $(VENV)/bin/python $(PYTEST) $(ARGS)

check: $(STAMP) ## formatting, lint, types, tests
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/mypy
	@exec $(VENV)/bin/python $(PYTEST) $(ARGS)

format: $(STAMP) ## format the code and mend what ruff can mend
	@$(VENV)/bin/ruff check --fix --exit-zero --quiet
	@$(VENV)/bin/ruff format

bench: $(STAMP) ## how fast it is, into tests/benchmarks/RESULTS.md
	@exec $(VENV)/bin/python tests/benchmarks $(ARGS)

tensorboard: $(STAMP) ## look into runs/ in a browser (PORT=6007: elsewhere)
	@$(VENV)/bin/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null \
	    || { echo 'port $(PORT) is taken or not allowed; try: make tensorboard PORT=6007' >&2; exit 2; }
	@test -d runs || echo 'There are no runs yet: make hw1 makes one.'
	@echo 'TensorBoard on http://127.0.0.1:$(PORT)/ shows $(CURDIR)/runs (Ctrl-C stops it).'
	@echo 'To see a run while it trains, turn on "Reload data" behind the gear, top right.'
	@exec $(VENV)/bin/tensorboard --logdir runs --host 127.0.0.1 --port $(PORT) 2>/dev/null

# No host and no folder of this machine may end up in the file, hence the flags and the name.
lock: $(STAMP) ## bring requirements.lock in step with pyproject.toml
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --extra dev --extra pictures --extra speech --extra text --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	    pyproject.toml --output-file requirements.lock

clean: ## remove caches and built packages; runs/, data/ and the environment stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests homeworks -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last, so an environment whose making was interrupted is made again.
# uv is installed from the lock file too, so that its hash is checked like everyone else's.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
$(STAMP): requirements.lock
	@for PY in $(PYTHONS); do $$PY -c '$(IN_RANGE)' 2>/dev/null && break; PY=; done; \
	if [ -z "$$PY" ]; then \
	    echo 'hlml needs Python 3.11, 3.12 or 3.13; tried: $(PYTHONS) (make PYTHON=/path/to/python3.12)' >&2; \
	    exit 2; \
	fi; \
	echo "Making $(VENV) with $$($$PY --version); the first time PyTorch is downloaded."; \
	QUIET=--quiet; [ ! -t 2 ] || QUIET=; \
	set -e; \
	$$PY -m venv --clear $(VENV); \
	sed -n '/^uv==/,/[^\]$$/p' requirements.lock > $(VENV)/uv.txt; \
	if $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	        -r $(VENV)/uv.txt && VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip sync $$QUIET \
	        --require-hashes requirements.lock; then :; else \
	    echo 'uv cannot be used here; going on with pip, which takes longer.' >&2; \
	    $(VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes \
	        -r requirements.lock; \
	fi; \
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --no-build-isolation --no-index -e .; \
	touch $@
