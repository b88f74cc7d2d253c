PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := var/demo
PACKAGES := openssl curl strongswan-pki libstrongswan-standard-plugins \
	gnutls-bin default-jdk-headless libbcpkix-java libbcprov-java libbctls-java libbcutil-java nginx \
	gcc libc6-dev swtpm swtpm-tools tpm2-tools softhsm2 \
	libtpm2-pkcs11-1 opensc pebble

PACKAGES += haproxy redis-server postgresql pgbouncer faketime

ON_POSTGRES := tests/e2e/test_enrollment_http.py tests/e2e/test_revocation.py \
	tests/e2e/test_review_queue.py tests/e2e/test_ocsp.py tests/e2e/test_chaos.py

.PHONY: test-postgres replicas scale ca-kills ca-table run test lint interop conformance bench fuzz fuzz-attestation chaos bulk propagation peers slow clean

run: $(VENV)/.installed
	@test -e $(DEMO)/server.yaml || $(BIN)/est-server init $(DEMO) --dns localhost --dns 127.0.0.1 \
		--est 127.0.0.1:8443 --public 127.0.0.1:8080 --yes
	@$(BIN)/python interop/demo.py $(DEMO) $(BIN)/est-server
	@exec $(BIN)/est-server serve -c $(DEMO)/server.yaml --auto-migrate

test: $(VENV)/.tested peers lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"
	LEDGER=postgres KILLS=2 $(BIN)/python -m pytest -n 2 --dist loadfile $(ON_POSTGRES) \
		-k "fifty or statuses or locked_out or survives_a_restart or kill_9"

# what every server does, with its ledger in PostgreSQL; the contract suites run over both anyway
test-postgres: $(VENV)/.tested peers
	LEDGER=postgres $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ON_POSTGRES)

# rates, plans and sizes with many certificates in the ledger, beside an empty one; ROWS=10000000
scale: $(VENV)/.tested peers
	ROWS=$(or $(ROWS),1000000) $(BIN)/python -m pytest -s tests/contract/test_scale.py

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

interop: $(VENV)/.tested peers
	$(BIN)/python -m pytest tests/e2e -k "interop or idevid"

# the conformance cases against a running server, and the matrix of them
conformance: $(VENV)/.tested
	$(BIN)/python -m pytest tests -m case --matrix -q

# beside real peers, in turns; BENCH="enroll --rounds 3" for a part of it, "-o json" for programs
bench: PACKAGES := nginx wrk golang-cfssl softhsm2 gcc libc6-dev
bench: $(VENV)/.installed peers
	@$(BIN)/python tests/bench $(BENCH)

# 200 revocations, one after the other, under load: how long until OCSP on two processes, the delta
# CRL, enrollment and nginx know of each
propagation: $(VENV)/.tested peers
	REVOCATIONS=$(or $(INPUTS),200) $(BIN)/python -m pytest -s -k load \
		tests/e2e/test_revocation.py tests/e2e/test_propagation.py

# 100,000 certificates revoked at once, through kill -9
bulk: $(VENV)/.tested
	BULK=$(or $(INPUTS),100000) $(BIN)/python -m pytest -s tests/contract/test_revocation_bulk.py

# which CA backends show which cases of their contract
ca-table: $(VENV)/.tested
	$(BIN)/python -m pytest -q -p est_server.testing.table --ca-table -k "CaContract or test_case" \
		tests/contract

# kill -9 at every edge of issuance; BACKEND=scripted for one backend
ca-kills: $(VENV)/.tested
	KILLS=$(or $(KILLS),120) $(BIN)/python -m pytest -s -q tests/contract/test_ca_kills.py

# the long forms of what `make test` does in short: 100,000 inputs for the codecs together and as
# many for the HTTP surface, none slower than 50 ms of processor time; 200 kills under load
fuzz: $(VENV)/.tested
	FUZZ=$(or $(INPUTS),100000) $(BIN)/python -m pytest -s tests/fuzz

# a coverage-guided fuzzer in each parser of evidence, ten minutes each; TARGETS for some of them
fuzz-attestation: $(VENV)/.tested
	$(BIN)/python tests/fuzz/coverage_guided.py --seconds $(or $(SECONDS),600) $(TARGETS)

# what takes minutes and is marked so
slow: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow

chaos: $(VENV)/.tested
	KILLS=$(or $(KILLS),200) $(BIN)/python -m pytest -s tests/e2e/test_chaos.py \
		tests/e2e/test_pkcs11.py -k kill

# three replicas while a replica, Redis and PostgreSQL fail, one after the other
replicas: $(VENV)/.tested peers
	REPLICAS=long $(BIN)/python -m pytest -s tests/e2e/test_replicas.py

# each rule broken once: the tests of its cases must turn red
conformance-mutations: $(VENV)/.tested
	$(BIN)/python -m pytest tests/conformance/test_faults.py -q
	$(BIN)/python tests/conformance/mutate.py

# each check of the verifiers removed once: the tests of its attacks must turn red
attestation-mutations: $(VENV)/.tested peers
	$(BIN)/python tests/attestation/mutate.py

# the real peers of the tests, where this user may install them
peers:
	@missing=; for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
		else echo "peers missing; as root: apt-get install$$missing"; fi; fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e '.[acme,attestation,aws,gcp,pkcs11,policy,postgres,timestamp]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check 'pip>=25.1'
	$(BIN)/pip install -q --disable-pip-version-check --group test
	@touch $@

clean:
	rm -rf $(VENV) var dist
