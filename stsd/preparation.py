"""What is done for a run before its start: its env files are read, its secrets are fetched, and
its condition is asked, in this order.

Values of secrets are in memory only, and only until the start; no error shows one.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stsd import envfile, vault
from stsd.child import ChildSpec, child_spec
from stsd.envfile import EnvFileError
from stsd.errands import Ended, Errands
from stsd.errors import SpawnError
from stsd.messages import Prepared
from stsd.model import ArgvTask, Run, Secret, ShellTask, TriggerKind
from stsd.starter import Answer, Starter
from stsd.traces import Traces
from stsd.units import escaped
from stsd.vault import SecretError

_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Given:
    """What env files and secrets add to a child's environment; `hide` are the values to be masked
    in its output."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    hide: tuple[str, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class _Work:
    """A preparation that is under way: `secrets` are those that are still to be fetched."""

    run: Run
    attempt: int
    secrets: deque[Secret]
    files: dict[str, str] = field(repr=False)
    values: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def env(self) -> dict[str, str]:
        return {**self.files, **self.values}


class Preparation:
    """The preparations of one daemon. `selector` gets what they wait for, with this object as its
    data; `environ` is what `stsd.child.base_environment` made of the daemon's, and `traces` are
    left of the processes that it takes."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        starter: Starter,
        environ: Mapping[str, str],
        traces: Traces,
    ) -> None:
        self._environ = environ
        self._errands = Errands(selector, starter, self, traces)
        self._works: dict[str, _Work] = {}
        self._given: dict[str, Given] = {}

    def begin(self, run: Run, attempt: int) -> Prepared | None:
        """Prepare an attempt; None if it takes a while, and `hear` or `answered` will tell."""
        try:
            work = _Work(run, attempt, deque(run.job.secrets), envfile.of_job(run.job))
        except EnvFileError as error:
            return Prepared(run.id, error=f"env_file: {error}")
        self._works[run.id] = work
        return self._go_on(work)

    def hear(self, fd: int) -> Prepared | None:
        """Something happened at a descriptor; how a preparation ended, if it did."""
        return self._ended(self._errands.hear(fd))

    def answered(self, answer: Answer) -> Prepared | None:
        """The starter has answered late; how a preparation ended, if it did."""
        return self._ended(self._errands.answered(answer))

    def take(self, run_id: str) -> Given:
        """What was found for a run that is being started. It is kept no longer."""
        return self._given.pop(run_id, Given())

    def abandon(self, run_id: str) -> None:
        """Leave off preparing a run, and forget what was found for it."""
        self._works.pop(run_id, None)
        self._given.pop(run_id, None)
        self._errands.abandon(run_id)

    def close(self) -> None:
        """Leave off all of it: the daemon ends, or is about to be another process."""
        for run_id in list(self._works):
            self.abandon(run_id)

    def _go_on(self, work: _Work) -> Prepared | None:
        """Fetch secrets until one takes a while; ask the condition when there are no more."""
        while work.secrets:
            secret = work.secrets[0]
            try:
                if secret.command is not None:
                    self._errands.begin(
                        work.run.id, self._fetching(work, secret.command), heard=True
                    )
                    return None
                work.values[secret.name] = vault.from_place(secret, work.run.job.user, os.environ)
            except (SecretError, SpawnError) as error:
                return self._failed(work, f"secrets.{secret.name}: {error}")
            work.secrets.popleft()
        condition = work.run.job.condition
        if condition is None or not _is_asked(work):
            return self._done(work)
        try:
            self._errands.begin(work.run.id, self._asking(work, condition), heard=False)
        except SpawnError as error:
            return self._failed(work, f"condition: {error}")
        return None

    def _ended(self, ended: Ended | None) -> Prepared | None:
        if ended is None:
            return None
        work = self._works[ended.run_id]
        if work.secrets:
            return self._fetched(work, ended)
        if ended.error:
            return self._failed(work, f"condition: {ended.error}")
        if ended.code:
            del self._works[work.run.id]
            return Prepared(work.run.id, unmet=f"the condition {_how(ended.code)}")
        return self._done(work)

    def _fetched(self, work: _Work, ended: Ended) -> Prepared | None:
        """The command of the first of the secrets has ended."""
        secret = work.secrets.popleft()
        try:
            work.values[secret.name] = _from_command(ended)
        except SecretError as error:
            return self._failed(work, f"secrets.{secret.name}: {error}")
        return self._go_on(work)

    def _done(self, work: _Work) -> Prepared:
        del self._works[work.run.id]
        if work.env:
            self._given[work.run.id] = Given(work.env, tuple(work.values.values()))
        return Prepared(work.run.id)

    def _failed(self, work: _Work, error: str) -> Prepared:
        del self._works[work.run.id]
        return Prepared(work.run.id, error=error)

    def _fetching(self, work: _Work, command: ShellTask | ArgvTask) -> ChildSpec:
        """The child that prints a secret: of the job's user, but without its limits, which are
        made for other work, and without the other secrets."""
        job = replace(work.run.job, task=command, limits=None, nice=None)
        run = replace(work.run, job=job)
        return child_spec(run, work.attempt, self._environ, work.files)

    def _asking(self, work: _Work, condition: ShellTask | ArgvTask) -> ChildSpec:
        """The child that is the condition: like the job's own in all but the task."""
        run = replace(work.run, job=replace(work.run.job, task=condition))
        return child_spec(run, work.attempt, self._environ, work.env)


def _is_asked(work: _Work) -> bool:
    """Whether a condition is for this start to ask: a repeated attempt is of a run that was let
    go, and one by hand is wanted whatever it says."""
    return work.attempt == 1 and work.run.trigger is not TriggerKind.MANUAL


def _from_command(ended: Ended) -> str:
    """Raises SecretError."""
    if ended.error:
        raise SecretError(ended.error)
    if ended.code:
        words = escaped(_without(ended.printed, ended.last_words)[:_LONGEST_WORDS])
        raise SecretError(f"its command {_how(ended.code)}" + (f": {words}" if words else ""))
    return vault.value_of(ended.printed, "what its command has printed")


def _without(printed: bytes, words: str) -> str:
    """The words without what was printed: a shell that traces its commands says it twice."""
    value = printed.decode(errors="replace").strip()
    return words.replace(value, "***") if value else words


def _how(code: int) -> str:
    """How a child ended: an exit code, or the number of a signal, negative."""
    if code >= 0:
        return f"exited {code}"
    known = {known.value for known in signal.Signals}
    name = signal.Signals(-code).name if -code in known else f"signal {-code}"
    return f"was killed by {name}"
