"""What a webhook is sent: the JSON object of docs/notifications.md, and its signature.

The shape is a contract with every receiver: fields are added, never renamed or taken away.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from stsd.letter import Letter, Told
from stsd.noticewords import headline, more, why
from stsd.units import escaped, rfc3339

VERSION = 1


def body_of(letter: Letter) -> bytes:
    """The JSON object, in ASCII."""
    fields = {
        "version": VERSION,
        "delivery": letter.delivery,
        "host": letter.host,
        "test": letter.test,
        "notices": [_fields(told, letter.jobfile) for told in letter.told],
        "dropped": letter.dropped,
    }
    return json.dumps(fields, ensure_ascii=True, allow_nan=False).encode()


def signature(body: bytes, secret: str, now: int) -> str:
    """The header `Stsd-Signature`: when it was signed, and the HMAC-SHA256 (RFC 2104) of that
    number, a full stop and the body, by the secret. A receiver that looks at the time, too, cannot
    be told the same thing again by whoever has listened."""
    signed = b"%d.%s" % (now, body)
    digest = hmac.new(secret.encode(errors="surrogateescape"), signed, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def _fields(told: Told, jobfile: str) -> dict[str, object]:
    notice = told.notice
    return {
        "event": notice.event.value,
        "job": notice.job,
        "job_description": told.description,
        "timezone": told.zone,
        "at": rfc3339(float(notice.at)),
        "headline": headline(notice),
        "why": why(notice),
        "since": _instant(notice.since),
        "run": notice.run,
        "scheduled": None if notice.scheduled is None else rfc3339(int(notice.scheduled)),
        "trigger": notice.trigger,
        "attempt": notice.attempt,
        "outcome": notice.outcome,
        "exit_code": notice.exit_code,
        "signal": notice.signal,
        "error": None if notice.error is None else escaped(notice.error),
        "started": _instant(notice.started),
        "duration_s": notice.duration_s,
        "usual_s": notice.usual_s,
        "output": notice.output,
        "output_bytes": notice.output_bytes,
        "tail": list(told.tail),
        "will_retry_at": _instant(notice.will_retry_at),
        "next": _instant(told.next),
        "count": notice.count,
        "reminder": notice.reminder,
        "ended": [event.value for event in notice.ended],
        "more": more(notice, jobfile),
    }


def _instant(instant: float | None) -> str | None:
    return None if instant is None else rfc3339(float(instant))
