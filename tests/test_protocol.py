"""The words of the control socket: whatever comes is a request, or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.protocol import ORDERS, Asked, BadRequestError, Trouble, encode, encode_request, parse


def refusal(line: bytes) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        parse(line)
    return caught.value


def test_what_one_end_writes_the_other_reads() -> None:
    line = encode_request("pause", {"jobs": ["größe"], "for_s": 60, "reason": "\n"})
    assert parse(line) == Asked(
        "pause", {"jobs": ("größe",), "tags": (), "for_s": 60.0, "reason": "\n"}
    )


def test_what_is_left_out_is_there_all_the_same() -> None:
    asked = parse(b'{"stsd": 1, "do": "trigger", "kwargs": null}')
    assert asked.arguments == {"jobs": (), "tags": (), "kwargs": None, "env": None, "wait": False}


def test_an_answer_is_one_line_of_ascii() -> None:
    assert encode("answer", {"a": "ä\n"}) == b'{"answer":{"a":"\\u00e4\\n"}}\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no JSON"),
        (b"hello", "no JSON"),
        (b"\x00\xff\xfe", "no UTF-8"),
        (b'"hello"', "no JSON object"),
        (b"[1]", "no JSON object"),
        (b'{"do": "hello"}', "the version is missing"),
        (b'{"stsd": 1}', '"do" is missing'),
        (b'{"stsd": 1, "do": "halo"}', "it can be hello, status"),
        (b'{"stsd": 1, "do": ["hello"]}', "it can be hello, status"),
        (b'{"stsd": 1, "do": "hello", "do": "reload"}', "a key is there twice"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": 1, "a": 2}}', "a key is there twice"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": NaN}}', "NaN is no number"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": -Infinity}}', "-Infinity is no number"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": 1e999}}', "too large"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": ' + b"9" * 5000 + b"}}", "no JSON"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": "\\ud800"}}', "surrogate"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"\\udfff": 1}}', "surrogate"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}", "deep"),
        (b'{"stsd": 1, "do": "hello", "job": "a"}', 'knows no argument "job" (known: none)'),
        (b'{"stsd": 1, "do": "status", "jobs": "a"}', 'must be an array of strings, not "a"'),
        (b'{"stsd": 1, "do": "status", "jobs": ["a", 1]}', "must be an array of strings"),
        (b'{"stsd": 1, "do": "trigger", "wait": 1}', "must be true or false, not 1"),
        (b'{"stsd": 1, "do": "trigger", "kwargs": []}', "must be an object"),
        (b'{"stsd": 1, "do": "trigger", "env": {"A": 1}}', "must be an object of strings"),
        (b'{"stsd": 1, "do": "trigger", "env": {"A=": "1"}}', 'names without "="'),
        (b'{"stsd": 1, "do": "trigger", "env": {"A": "\\u0000"}}', "no NUL"),
        (b'{"stsd": 1, "do": "pause", "for_s": -1}', "between 0 and 100 years"),
        (b'{"stsd": 1, "do": "pause", "for_s": "2h"}', "must be a number of seconds"),
        (b'{"stsd": 1, "do": "pause", "for_s": true}', "cannot be true"),
        (b'{"stsd": 1, "do": "pause", "reason": 1}', "must be a string"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(line: bytes, words: str) -> None:
    error = refusal(line)
    assert error.kind is Trouble.BAD_REQUEST
    assert words in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("version", ["2", "0", "1.0", "true", '"1"', "null"])
def test_another_version_is_not_supported(version: str) -> None:
    error = refusal(f'{{"stsd": {version}, "do": "hello"}}'.encode())
    assert error.kind is Trouble.UNSUPPORTED
    assert "only 1" in str(error)


def test_a_later_version_is_told_so_even_with_words_that_this_one_does_not_know() -> None:
    assert refusal(b'{"stsd": 2, "do": "dance", "how": []}').kind is Trouble.UNSUPPORTED


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_REQUESTS = st.fixed_dictionaries(
    {"stsd": st.just(1), "do": st.sampled_from(sorted(ORDERS))},
    optional={
        name: _JSON | st.lists(st.text())
        for name in ("jobs", "tags", "runs", "kwargs", "env", "wait", "for_s", "reason", "x")
    },
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary() | st.text().map(str.encode) | (_JSON | _REQUESTS).map(json.dumps))
def test_any_line_is_a_request_or_refused(line: bytes | str) -> None:
    try:
        asked = parse(line if isinstance(line, bytes) else line.encode())
    except BadRequestError:
        return
    # What is taken can be written again: in a history, or for a child.
    assert encode_request(asked.do, asked.arguments)
    assert asked.arguments.keys() == ORDERS[asked.do].arguments.keys()
