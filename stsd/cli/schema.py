"""`stsd schema`: the JSON Schema of the jobfile, for editors that complete and check TOML."""

from __future__ import annotations

import argparse
import json

from stsd.schema import schema

EXAMPLE = """\
examples:
  stsd schema > jobs.schema.json               then, as the first line of the jobfile:
                                               #:schema ./jobs.schema.json"""
TAKES_JOBFILE = False


def configure(parser: argparse.ArgumentParser) -> None:
    """`stsd schema` has no options: the schema is that of this version."""


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return 0
