"""Where keys and values stand in a jobfile's text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.locate import (
    Path,
    Spot,
    deeper_than,
    inside,
    line_and_column,
    line_at,
    locate,
    too_long_a_number,
)


def place(text: str, *path: str | int) -> tuple[int, int]:
    """Line and column of the value at a path."""
    return line_and_column(text, locate(text, [path])[path].value)


def key_place(text: str, *path: str | int) -> tuple[int, int]:
    """Line and column of the key at a path."""
    return line_and_column(text, locate(text, [path])[path].key)


def test_a_value_is_found_behind_its_key() -> None:
    assert place('# x\n[jobs.a]\n  every = "5s" # y\n', "jobs", "a", "every") == (3, 11)
    assert key_place('# x\n[jobs.a]\n  every = "5s" # y\n', "jobs", "a", "every") == (3, 3)


def test_a_table_is_found_at_its_name_in_the_header() -> None:
    assert key_place("\n[ jobs . backup ]\n", "jobs", "backup") == (2, 10)


def test_a_table_without_a_header_is_found_where_it_is_first_named() -> None:
    text = "[jobs.a.retry]\nmax = 3\n[jobs.a]\n"
    assert key_place(text, "jobs", "a") == (1, 7)
    assert key_place(text, "jobs", "a", "retry") == (1, 9)


def test_an_item_of_an_array_over_several_lines_is_found() -> None:
    text = 'at = [ # first\n  "a]", # second\n\n  "b",\n]\nx = 1\n'
    assert place(text, "at", 1) == (4, 3)
    assert place(text, "x") == (6, 5)


def test_a_key_of_an_inline_table_is_found() -> None:
    text = 'retry = { max = 3, on = ["a", "b"], "with in" = { x.y = 1 } }\nlast = 1'
    assert place(text, "retry", "on", 1) == (1, 31)
    assert place(text, "retry", "with in", "x", "y") == (1, 57)
    assert place(text, "last") == (2, 8)


def test_strings_that_look_like_toml_hide_nothing() -> None:
    text = 'a = \'\'\'\n[x]\ny = 1 \'\'\'\'\nb = """\n\\""" c = 2 # """""\nc = \'#\'\nd = 1\n'
    assert set(tomli.loads(text)) == {"a", "b", "c", "d"}
    assert place(text, "c") == (6, 5)
    assert place(text, "d") == (7, 5)


def test_dates_with_a_blank_are_one_value() -> None:
    text = "a = [1979-05-27 07:32:00, 1979-05-27]\nb = 2\n"
    assert place(text, "a", 1) == (1, 27)
    assert place(text, "b") == (2, 5)


def test_an_entry_of_an_array_of_tables_has_its_index() -> None:
    text = "[[x]]\na = 1\n[[x]]\na = 2\n[x.y]\nb = 3\n"
    assert place(text, "x", 1, "a") == (4, 5)
    assert place(text, "x", 1, "y", "b") == (6, 5)


def test_a_quoted_key_is_the_same_as_its_text() -> None:
    text = "\"a\\u0062\" = 1\n'c\\d' = 2\n"
    assert place(text, "ab") == (1, 13)
    assert place(text, "c\\d") == (2, 9)


def test_what_is_not_there_is_not_found() -> None:
    assert locate("a = 1\n", [("b",)]) == {}


def test_a_character_of_a_string_is_found() -> None:
    text = 'cron = "0 25 * * *"\n'
    assert inside(text, 7, 3) == 10


def test_a_string_with_escapes_is_pointed_at_as_a_whole() -> None:
    assert inside(r'"\t0 25"', 0, 4) == 0
    assert inside("'''\n0 25'''", 0, 3) == 0


def test_a_backslash_in_a_literal_string_is_a_character() -> None:
    assert inside(r"'\t0'", 0, 3) == 3


def test_columns_count_characters_and_lines_may_end_as_on_windows() -> None:
    text = 'ä = "ö"\r\nb = 1\r\n'
    assert place(text, "b") == (2, 5)
    assert line_at(text, 0) == 'ä = "ö"'


def test_a_nesting_too_deep_is_found_where_it_starts() -> None:
    assert deeper_than('a = "[[[[" # [[[[\nb = [[[[1]]]]', 3) == 25
    assert deeper_than("\n" + "x." * 200 + "x = 1", 3) == 1


def test_a_number_too_long_is_found_outside_of_strings() -> None:
    digits = "9" * 5000
    assert too_long_a_number(f'a = "{digits}"\nb = {digits}') == 5011


_NAMES = st.sampled_from(["a", "b-1", "c c", "d.d", 'e"', "ä", "7", "]", "="])
_BLANKS = st.sampled_from(["", " ", "\t"])
_BREAKS = st.sampled_from(["", " ", "\n", " # ] } = '\n", "\n\n"])
_LEAVES = st.sampled_from(
    ["1", "true", "-1e3", "0x1F", "1979-05-27 07:32:00", '"a # b"', "'c]'", '"""\nx"y"""', "''''''"]
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


def quoted(name: str) -> str:
    """The name as a key of TOML."""
    if name.isascii() and name.replace("-", "").isalnum():
        return name
    escaped = name.replace('"', '\\"')
    return f'"{escaped}"'


class Writer:
    """Writes a tree as TOML in a random layout, and remembers where it put what."""

    def __init__(self, draw: Callable[[st.SearchStrategy[str]], str]) -> None:
        self.draw = draw
        self.text = ""
        self.spots: dict[Path, Spot] = {}

    def blank(self) -> None:
        self.text += self.draw(_BLANKS)

    def pair(self, path: Path, tree: object) -> None:
        key = len(self.text)
        self.text += quoted(str(path[-1]))
        self.blank()
        self.text += "="
        self.blank()
        self.value(path, key, tree)

    def value(self, path: Path, key: int | None, tree: object) -> None:
        start = len(self.text)
        self.spots[path] = Spot(start if key is None else key, start)
        if isinstance(tree, list):
            self.text += "["
            for index, item in enumerate(tree):
                self.text += self.draw(_BREAKS)
                self.value((*path, index), None, item)
                self.text += self.draw(_BREAKS) + ","
            self.text += "]"
        elif isinstance(tree, dict):
            self.text += "{"
            for number, (name, item) in enumerate(tree.items()):
                self.text += "," if number else ""
                self.blank()
                self.pair((*path, name), item)
                self.blank()
            self.text += "}"
        else:
            self.text += str(tree)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_key_and_value_of_any_layout_is_found(data: st.DataObject) -> None:
    tables = data.draw(st.dictionaries(_NAMES, st.dictionaries(_NAMES, _TREES, max_size=3)))
    writer = Writer(data.draw)
    for table, pairs in tables.items():
        writer.text += "["
        writer.blank()
        start = len(writer.text)
        writer.spots[(table,)] = Spot(start, start)
        writer.text += quoted(table)
        writer.blank()
        writer.text += "]\n"
        for name, tree in pairs.items():
            writer.blank()
            writer.pair((table, name), tree)
            writer.text += " # x = 1\n"
    tomli.loads(writer.text)
    assert locate(writer.text, writer.spots) == writer.spots
