"""What a webhook is sent, and that the page tells receivers how to check it."""

from __future__ import annotations

import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from stsd.webhook import body_of, signature
from tests.support_notices import FAILED, MANY

PAGE = Path(__file__).parent.parent / "docs" / "notifications.md"


@pytest.fixture
def is_from_stsd() -> Any:
    """The function that the page gives to receivers."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    names: dict[str, Any] = {"hmac": hmac, "time": time}
    exec(code, names)
    return names["is_from_stsd"]


def test_the_page_s_receiver_believes_what_stsd_has_signed(is_from_stsd: Any) -> None:
    body = body_of(FAILED)
    assert is_from_stsd("hunter2", signature(body, "hunter2", int(time.time())), body)


def test_the_page_s_receiver_believes_nothing_else(is_from_stsd: Any) -> None:
    body, now = body_of(FAILED), int(time.time())
    signed = signature(body, "hunter2", now)
    assert not is_from_stsd("hunter3", signed, body)
    assert not is_from_stsd("hunter2", signed, body + b" ")
    assert not is_from_stsd("hunter2", signature(body, "hunter2", now - 3600), body)
    assert not is_from_stsd("hunter2", signed.replace(f"t={now}", f"t={now - 1}"), body)


def test_the_page_shows_all_fields_and_no_other() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    example, body = json.loads(shown), json.loads(body_of(FAILED))
    assert example.keys() == body.keys()
    assert example["notices"][0].keys() == body["notices"][0].keys()


def test_a_body_is_ascii_and_has_all_notices() -> None:
    body = body_of(MANY)
    assert body.isascii()
    assert len(json.loads(body)["notices"]) == len(MANY.told)
    assert json.loads(body)["dropped"] == 12
