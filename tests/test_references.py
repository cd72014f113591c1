"""References to variables: their syntax, and what becomes of them."""

from __future__ import annotations

import json

import pytest

from stsd.references import UnsetError, filled, filled_address, filled_json, malformed

NASTY = 'a"b\\c d/e&f=g?h#i@j:ä\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "1"),
        ("<${A}${B_2}>", "<1two>"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A} $", "$A $ {A} $"),
        ("${A}${", "1${"),
    ],
)
def test_a_reference_becomes_its_value(text: str, expected: str) -> None:
    assert filled(text, {"A": "1", "B_2": "two"}) == expected


def test_a_value_is_not_looked_into() -> None:
    assert filled("${A}", {"A": "${B}", "B": "no"}) == "${B}"


def test_a_variable_that_is_not_set_is_an_error() -> None:
    with pytest.raises(UnsetError, match=r"^the variable B is not set$"):
        filled("${A} ${B}", {"A": ""})


@pytest.mark.parametrize("text", ["${", "x ${a b}", "${}", "${1}", "${A"])
def test_what_is_no_reference_is_found(text: str) -> None:
    assert malformed(text) == text.index("${")


@pytest.mark.parametrize("text", ["", "${A}", "$${", "$${}", "$A", "{}"])
def test_what_is_a_reference_or_none_at_all_is_left_in_peace(text: str) -> None:
    assert malformed(text) is None


def test_any_value_stays_within_its_string_of_json() -> None:
    assert json.loads(filled_json('{"${A}": ["${A}"]}', {"A": NASTY})) == {NASTY: [NASTY]}


def test_a_value_is_encoded_for_its_place_in_an_address() -> None:
    variables = {"A": "p@s/s?", "H": "db.local:8080", "U": "https://x.org/?a=b"}
    assert filled_address("x://u:${A}@${H}/${A}?q=${A}#${A}", variables) == (
        "x://u:p%40s%2Fs%3F@db.local:8080/p%40s/s%3F?q=p%40s/s%3F#p%40s/s%3F"
    )
    assert filled_address("${U}", variables) == "https://x.org/?a=b"
    assert filled_address("x://$${A}/", variables) == "x://${A}/"
