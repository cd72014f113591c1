"""`stsd completion`: scripts that make bash, zsh and fish complete commands, options and jobs.

The scripts are made by shtab from the very parsers of the command line. Only names of jobs are
looked up when the key is pressed: the script then calls `stsd completion --jobs`, which must stay
quick and say nothing but names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from stsd.cli import COMMANDS, build_parser
from stsd.cli.common import config_path
from stsd.errors import JobfileError, UsageError
from stsd.jobfile import job_names

EXAMPLE = """\
examples, each once for all shells to come:
  stsd completion bash > ~/.local/share/bash-completion/completions/stsd
  stsd completion zsh > ~/.zfunc/_stsd         with `fpath+=~/.zfunc` above compinit in ~/.zshrc
  stsd completion fish > ~/.config/fish/completions/stsd.fish
for this shell alone:
  eval "$(stsd completion bash)\""""

SHELLS = ("bash", "zsh", "fish")
_FILES = {"FILE", "P", "PATH"}

# Which jobfile is meant is said by the words before; `~` in them has not been expanded yet.
_JOBS = {
    "bash": r"""
_stsd_jobs() {
  local place file=()
  for ((place = 1; place < COMP_CWORD - 1; place++)); do
    case ${COMP_WORDS[place]} in
      -c|--config) file=(-c "${COMP_WORDS[place + 1]/#\~\//$HOME/}") ;;
    esac
  done
  compgen -W "$("${COMP_WORDS[0]/#\~\//$HOME/}" completion --jobs "${file[@]}" 2>/dev/null)" -- "$1"
}
""",
    "zsh": r"""
_stsd_jobs() {
  local place file=()
  place=${words[(I)(-c|--config)]}
  (( place && place < CURRENT - 1 )) && file=(-c "${(Q)words[place + 1]/#\~\//$HOME/}")
  local program=${(Q)${_comp_command1:-stsd}/#\~\//$HOME/}
  compadd -- ${(f)"$($program completion --jobs $file 2>/dev/null)"}
}
""",
    "fish": r"""
function _stsd_jobs
  set -l words (commandline -opc)
  set -l file
  for place in (seq 2 (math (count $words) - 1))
    if contains -- $words[$place] -c --config
      set file -c (string replace -r '^~/' "$HOME/" -- $words[(math $place + 1)])
    end
  end
  set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
  $program completion --jobs $file 2>/dev/null
end
""",
}
_JOB = {"bash": "_stsd_jobs", "zsh": "_stsd_jobs", "fish": "(_stsd_jobs)", "preamble": _JOBS}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd completion`."""
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="whose script to print")
    parser.add_argument("--jobs", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print the script of a shell, or the names of the jobs."""
    if arguments.jobs:
        return _print_jobs(config_path(arguments))
    if arguments.shell is None:
        raise UsageError(f"name a shell: {', '.join(SHELLS)}")
    print(script(arguments.shell))
    return 0


def _print_jobs(path: Path) -> int:
    try:
        names = job_names(path)
    except JobfileError as error:
        print(error, file=sys.stderr)
        return 2
    for name in names:
        print(name)
    return 0


def script(shell: str) -> str:
    """The completion script for one of `SHELLS`."""
    import shtab

    parser = build_parser(COMMANDS)
    for action in _actions(parser):
        words = set((action.metavar or "").split("|")) if isinstance(action.metavar, str) else set()
        if "JOB" in words:
            vars(action)["complete"] = _JOB  # shtab's way of being told
        elif words & _FILES:
            vars(action)["complete"] = shtab.FILE
    text = shtab.complete(parser, shell)
    if shell == "zsh":  # where shtab's way of saying "any number of them" stops after the first
        text = text.replace('"(*)::', '"*:')
    return text


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
