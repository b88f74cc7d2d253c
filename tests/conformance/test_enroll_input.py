"""D: what simpleenroll reads."""

from __future__ import annotations

import pytest
from cases import case

from interop.conformance.asking import base64, certification_request, common_name, new_key


def csr() -> bytes:
    return certification_request(new_key(), common_name("input"))


FORMS = [
    pytest.param(base64, marks=case(53), id="lf"),
    pytest.param(lambda der: base64(der, end=b"\r\n"), marks=case(54), id="crlf"),
    pytest.param(lambda der: base64(der, None), marks=case(55), id="one-line"),
    pytest.param(lambda der: base64(der, 20, b" \t\n "), marks=case(56), id="spaces"),
]


@pytest.mark.parametrize("form", FORMS)
def test_base64_is_read_in_every_layout(lab, form):
    assert lab.ask("simpleenroll", form(csr())).status == 200
