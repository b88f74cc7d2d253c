"""No evidence gives anything but a value or a refusal, and none costs more than 20 ms.

`make fuzz-attestation` lets a coverage-guided fuzzer look for ten minutes in each parser.
"""

from __future__ import annotations

import contextlib

import pytest
from attestation_targets import MOST_CPU, REFUSALS
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from verifier_targets import TARGETS


def survives(name: str, data: bytes) -> None:
    with contextlib.suppress(*REFUSALS):
        counted(name, lambda: TARGETS[name].call(data), MOST_CPU)


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_read(name):
    for seed in TARGETS[name].seeds:
        TARGETS[name].call(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_random_octets(name):
    @examples(60, 0.01)
    @given(data=st.binary(max_size=1200))
    def holds(data):
        survives(name, data)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_changed_messages(name):
    @examples(150, 0.03)
    @given(random=st.randoms(use_true_random=False))
    def holds(random):
        survives(name, mutated(random, list(TARGETS[name].seeds)))

    holds()


@pytest.mark.parametrize("name", [name for name in TARGETS if TARGETS[name].framed])
def test_every_prefix_of_a_message_is_refused(name):
    for seed in TARGETS[name].seeds[:1]:
        for size in range(0, len(seed), 1 + len(seed) // 400):
            with pytest.raises(REFUSALS):
                TARGETS[name].call(seed[:size])


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("octet", [b"\x00", b"\x30", b"\xff", b"[", b"\x9f", b"\x80"])
def test_long_repetitions(name, octet):
    survives(name, octet * 60_000)
