"""The daemon's end of the control socket: lets clients in, answers them, and tells those who wait.

Decides nothing on jobs: what is asked goes to a function of the daemon's, which waits for nothing.
Never waits for a client, and gives none of them more than its share of a turn of the loop, so that
no job is late for their sake. The protocol is in docs/control.md.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stsd.peers import Peer, Rights, peer_of
from stsd.protocol import LONGEST_LINE, ORDERS, BadRequestError, Right, Trouble, encode, parse
from stsd.records import Record, Started
from stsd.replies import Done, Later, Listing, Refused, Reply, Request, Waiting
from stsd.sockets import OPEN, PRIVATE, Listening, UnfitFolderError
from stsd.visitor import Visitor
from stsd.watch import Watch

MOST_CLIENTS = 32
MOST_OTHERS = 24
"""Clients of other users than root and stsd's own, so that there is always room for those."""
MOST_OF_ONE = 8
"""Clients of one of the other users."""
ROWS_A_TURN = 100
_ENTRIES_A_TURN = 16
_OUTPUT_S = 0.2
_REOPEN_S = 10.0
_BREATHER_S = 1.0
_REMEDY = "daemon.control in the jobfile says who may"


class Control:
    """The control socket of one daemon.

    What `selector` has with this as its data is to be handed to `hear` when it is ready. The socket
    is made in the first of the `folders` that will do. `answer` is called for each request of a
    peer that may make it. `open_output` returns a descriptor of the output of an attempt, open for
    reading, or None as long as there is none.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        folders: Sequence[Path],
        rights: Rights,
        answer: Callable[[Request], Reply],
        open_output: Callable[[Started], int | None],
        log: FilteringBoundLogger,
    ) -> None:
        self._selector = selector
        self._folders = folders
        self._rights = rights
        self._answer = answer
        self._open_output = open_output
        self._log = log
        self._listening: Listening | None = None
        self._entry_closed = False
        self._look_after = 0.0
        self._enter_after = 0.0
        self._output_after = 0.0
        self._visitors: dict[int, Visitor] = {}
        self._watches: dict[int, Watch] = {}
        self._listings: dict[int, Listing] = {}
        self._owed: list[tuple[Visitor, Request, Later]] = []
        # What is published while a request is answered, by which its client may wait for it.
        self._meanwhile: list[Callable[[Watch], None]] | None = None

    @property
    def path(self) -> Path | None:
        """The socket, if there is one."""
        return self._listening.path if self._listening is not None else None

    def open(self, mono: float) -> Path | None:
        """Make the socket, and return where it is. None, and a warning, if it can be nowhere: then
        it is tried again from time to time."""
        self._look_after = mono + _REOPEN_S
        faults = {}
        for folder in self._folders:
            try:
                self._listening = Listening(folder, self._mode())
            except (OSError, UnfitFolderError) as error:
                faults[str(folder)] = str(error)
                continue
            self._open_entry()
            return self._listening.path
        self._log.warning("no_control_socket", tried=faults)
        return None

    def close(self, mono: float) -> None:
        """Hang up on everybody, and take the socket away. Answers that are there by now are given,
        but nobody is listened to any more."""
        self._pay(mono)
        for fd in list(self._visitors):
            self._drop(fd)
        self._close_entry()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def permit(self, rights: Rights) -> None:
        """From now on others may use the socket, or no longer."""
        self._rights = rights
        if self._listening is None:
            return
        try:
            self._listening.permit(self._mode())
        except OSError as error:
            self._log.warning("control_socket_mode", error=str(error))

    def hear(self, key: selectors.SelectorKey, mono: float) -> None:
        """A descriptor is ready."""
        visitor = self._visitors.get(key.fd)
        if visitor is not None:
            visitor.write(mono)
            visitor.read(mono)
        elif self._listening is not None and key.fd == self._listening.socket.fileno():
            self._let_in(self._listening.socket, mono)

    def tend(self, mono: float) -> None:
        """Answer, and whatever else there is to do; to be called in each turn, after `hear`."""
        self._pay(mono)
        self._answer_one(mono)
        self._tend_watches(mono)
        self._list_some(mono)
        for fd, visitor in list(self._visitors.items()):
            self._tend_visitor(fd, visitor, mono)
        if self._entry_closed and mono >= self._enter_after:
            self._open_entry()
        if mono >= self._look_after:
            self._look_after_socket(mono)

    def patience(self, mono: float) -> float | None:
        """In how many seconds `tend` wants to be called again; None: when something happens."""
        until = [self._enter_after] if self._entry_closed else []
        for visitor in self._visitors.values():
            if visitor.has_request or visitor.shut or visitor.wanted != visitor.events:
                return 0.0
            deadline = visitor.deadline()
            until += [deadline] if deadline is not None else []
        if any(not self._visitors[fd].has_unsent for fd in self._listings):
            return 0.0
        if any(later.reply is not None for _, _, later in self._owed):
            return 0.0
        if any(watch.is_looking for watch in self._watches.values()):
            until.append(self._output_after)
        return max(0.0, min(until) - mono) if until else None

    def publish(self, record: Record, mono: float) -> None:
        """A record has been written: those are told who wait for its run."""
        self._spread(lambda watch: watch.tell(record, mono))

    def finish(self, run: str, outcome: str, mono: float) -> None:
        """A run is over, of which no record says so."""
        self._spread(lambda watch: watch.finish(run, outcome, mono))

    # -- the entry

    def _mode(self) -> int:
        return OPEN if self._rights.for_others else PRIVATE

    def _open_entry(self) -> None:
        if self._listening is not None:
            self._selector.register(self._listening.socket, selectors.EVENT_READ, self)
        self._entry_closed = False

    def _close_entry(self) -> None:
        if self._listening is not None and not self._entry_closed:
            self._selector.unregister(self._listening.socket)
        self._entry_closed = False

    def _let_in(self, entry: socket.socket, mono: float) -> None:
        for _ in range(_ENTRIES_A_TURN):
            try:
                connection, _ = entry.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # no descriptor is left for it: it must not be asked at once
                self._log.warning("client_not_let_in", error=str(error))
                self._close_entry()
                self._entry_closed, self._enter_after = True, mono + _BREATHER_S
                return
            self._receive(connection, mono)

    def _receive(self, connection: socket.socket, mono: float) -> None:
        connection.setblocking(False)
        try:
            peer = peer_of(connection)
        except OSError:
            connection.close()
            return
        visitor = Visitor(connection, peer, mono)
        refused = self._refused_entry(peer)
        if refused is not None:
            visitor.dismiss(_line(refused), mono)
            visitor.close()
            return
        self._visitors[connection.fileno()] = visitor

    def _refused_entry(self, peer: Peer) -> Refused | None:
        if self._rights.of(peer) is None:
            message = f"the user with the uid {peer.uid} may do nothing here ({_REMEDY})"
            return Refused(Trouble.FORBIDDEN, message)
        others = [v.peer for v in self._visitors.values() if not self._rights.is_house(v.peer)]
        crowd = not self._rights.is_house(peer) and (
            len(others) >= MOST_OTHERS or sum(o.uid == peer.uid for o in others) >= MOST_OF_ONE
        )
        if crowd or len(self._visitors) >= MOST_CLIENTS:
            return Refused(Trouble.BUSY, "there are too many clients; try again")
        return None

    def _look_after_socket(self, mono: float) -> None:
        """Its folder may have been tidied up, or there has been no place for it."""
        self._look_after = mono + _REOPEN_S
        if self._listening is not None and self._listening.lost:
            self._log.warning("control_socket_lost", path=str(self._listening.path))
            self._close_entry()
            self._listening.close()
            self._listening = None
        if self._listening is None:
            self.open(mono)

    # -- the clients

    def _tend_visitor(self, fd: int, visitor: Visitor, mono: float) -> None:
        if visitor.is_too_long and not visitor.shut:
            message = f"a request has at most {LONGEST_LINE} bytes"
            visitor.dismiss(_line(Refused(Trouble.TOO_LARGE, message)), mono)
        deadline = visitor.deadline()
        if visitor.shut or (deadline is not None and mono >= deadline):
            self._drop(fd)
        else:
            self._watch_for(fd, visitor)

    def _watch_for(self, fd: int, visitor: Visitor) -> None:
        wanted = visitor.wanted
        if wanted == visitor.events:
            return
        if not visitor.events:
            self._selector.register(fd, wanted, self)
        elif not wanted:
            self._selector.unregister(fd)
        else:
            self._selector.modify(fd, wanted, self)
        visitor.events = wanted

    def _drop(self, fd: int) -> None:
        visitor = self._visitors.pop(fd)
        self._watches.pop(fd, None)
        self._listings.pop(fd, None)
        if visitor.events:
            self._selector.unregister(fd)
        visitor.close()

    def _answer_one(self, mono: float) -> None:
        """One request a turn: a large jobfile takes a while to be compared with another."""
        asking = (fd for fd, visitor in self._visitors.items() if visitor.has_request)
        fd = next(asking, None)
        if fd is None:
            return
        visitor = self._visitors.pop(fd)
        self._visitors[fd] = visitor  # whoever has been answered goes to the end
        line = visitor.take(mono)
        self._meanwhile = []
        request = self._request(visitor.peer, line)
        reply = self._answer(request) if isinstance(request, Request) else request
        missed, self._meanwhile = self._meanwhile, None
        match reply:
            case Waiting():
                accepted = {"runs": list(reply.runs), "skipped": list(reply.skipped)}
                visitor.put(encode("accepted", accepted), mono)
                watch = self._watches[fd] = Watch(visitor, reply.runs, self._open_output, mono)
                for news in missed:
                    news(watch)
            case Listing():
                visitor.waiting = True
                self._listings[fd] = reply
            case Later() if isinstance(request, Request):
                visitor.owed = True
                self._owed.append((visitor, request, reply))
                return
            case Done() | Refused():
                visitor.put(_line(reply), mono)
        if isinstance(request, Request):
            self._note(request, reply)

    def _pay(self, mono: float) -> None:
        """Give the answers that have come since to those who are owed them."""
        for visitor, request, later in self._owed:
            if later.reply is not None:
                visitor.owed = False
                visitor.put(_line(later.reply), mono)
                self._note(request, later.reply)
        self._owed = [owed for owed in self._owed if owed[2].reply is None]

    def _list_some(self, mono: float) -> None:
        """Go on with the first list that its client has room for; the others come next."""
        ready = (fd for fd in self._listings if not self._visitors[fd].has_unsent)
        fd = next(ready, None)
        if fd is None:
            return
        listing, visitor = self._listings.pop(fd), self._visitors[fd]
        rows = list(islice(listing.rows, ROWS_A_TURN))
        lines = [encode("row", row) for row in rows]
        if len(rows) == ROWS_A_TURN:
            self._listings[fd] = listing
        else:
            visitor.waiting = False
            lines.append(encode("answer", dict(listing.fields)))
        visitor.put(b"".join(lines), mono)

    def _spread(self, news: Callable[[Watch], None]) -> None:
        if self._meanwhile is not None:
            self._meanwhile.append(news)
        for watch in self._watches.values():
            news(watch)

    def _tend_watches(self, mono: float) -> None:
        self._watches = {fd: watch for fd, watch in self._watches.items() if not watch.is_over}
        if mono >= self._output_after:
            self._output_after = mono + _OUTPUT_S
            for watch in self._watches.values():
                watch.look(mono)

    def _request(self, peer: Peer, line: bytes) -> Request | Refused:
        """What is asked for, by one who may."""
        try:
            asked = parse(line)
        except BadRequestError as error:
            return Refused(error.kind, str(error))
        may = self._rights.of(peer)
        if may is None or (ORDERS[asked.do].right is Right.CHANGE and may is Right.READ):
            message = f"the user with the uid {peer.uid} may not {asked.do} here ({_REMEDY})"
            return Refused(Trouble.FORBIDDEN, message)
        return Request(peer, may, asked.do, asked.arguments)

    def _note(self, request: Request, reply: Reply) -> None:
        """Who has given an order, and whether it was carried out, goes to the log."""
        if ORDERS[request.do].right is Right.CHANGE:
            refused = reply.kind.value if isinstance(reply, Refused) else None
            peer = request.peer
            self._log.info("order", do=request.do, by=peer.name, pid=peer.pid, refused=refused)


def _line(reply: Done | Refused) -> bytes:
    if isinstance(reply, Done):
        return encode("answer", dict(reply.fields))
    error: dict[str, object] = {"kind": reply.kind, "message": reply.message}
    if reply.problems:
        error["problems"] = list(reply.problems)
    return encode("error", error)
