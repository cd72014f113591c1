"""Where the output of an attempt is."""

from __future__ import annotations

from stsd.carry import outputs_of
from stsd.model import Outcome, TriggerKind
from stsd.output import output_name
from stsd.records import Finished


def test_every_attempt_has_a_file_of_its_own_in_the_folder_of_its_job() -> None:
    names = [output_name("job", "job@20261121T023000Z", attempt) for attempt in (1, 2)]
    assert names == [
        "output/job/job@20261121T023000Z.1.log",
        "output/job/job@20261121T023000Z.2.log",
    ]


def test_what_a_record_names_is_what_retention_removes_with_it() -> None:
    name = output_name("job", "job@20261121T023000Z", 3)
    record = Finished(
        "job@20261121T023000Z", "job", 0, TriggerKind.CRON, 3, Outcome.FAILED, 1.0, output=name
    )
    assert name in outputs_of(record.fields())
