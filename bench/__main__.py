"""Measures stsd and what people use today, side by side in one run on this machine.

python bench                                all of it, half an hour
python bench --quick                        a look, four minutes
python bench --only lateness,idle --peers stsd,loop,cron

Writes a table for people and a file for programs to bench/results/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

from harness import report
from harness.bench import QUICK, Bench, Extent
from harness.figures import Result
from harness.measures import MEASURES
from harness.peers import PEERS, QUICK_PEERS, Peer
from harness.workshop import REPOSITORY, NotHereError, Workshop


def main() -> int:
    options = parse()
    extent = extent_of(options)
    workshop = Workshop(options.build)
    peers, versions, missing = installed(workshop, options.peers)
    place = workshop.folder / "runs"
    place.mkdir(exist_ok=True)
    bench = Bench(workshop, place, peers, extent)
    about = report.machine(place)
    results: dict[str, Result] = {}
    try:
        for name in options.only:
            results[name] = MEASURES[name](bench)
    finally:  # what was measured until an interruption is not to be lost
        shutil.rmtree(place, ignore_errors=True)
        text = report.markdown(about, versions, missing, results)
        data = report.data(about, versions, missing, results, extent)
        path = report.write(options.results, text, data)
        print(text)
        print(f"written to {path} and {path.with_suffix('.json').name}")
    return 0


def installed(
    workshop: Workshop, wanted: list[str]
) -> tuple[dict[str, Peer], dict[str, str], dict[str, str]]:
    """The peers that can be had, their versions, and why the others cannot."""
    peers: dict[str, Peer] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for key in wanted:
        peer = PEERS[key](workshop)
        try:
            versions[peer.name] = peer.install()
        except NotHereError as error:
            missing[peer.name] = str(error)
        else:
            peers[peer.name] = peer
    return peers, versions, missing


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument(
        "--only", type=names(MEASURES), default=list(MEASURES), help=", ".join(MEASURES)
    )
    parser.add_argument("--peers", type=names(PEERS), help=", ".join(PEERS))
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build" / "bench")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "bench" / "results")
    for field in fields(Extent):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=numbers if field.name in ("sizes", "held") else int,
            metavar="N",
            help=f"{getattr(Extent(), field.name)}; quick: {getattr(QUICK, field.name)}",
        )
    options = parser.parse_args()
    options.peers = options.peers or (QUICK_PEERS if options.quick else list(PEERS))
    return options


def names(known: dict[str, object] | dict[str, type[Peer]]) -> object:
    """A reader of comma-separated names out of these."""

    def read(text: str) -> list[str]:
        wanted = [name.strip() for name in text.split(",")]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: none of {', '.join(known)}")
        return [name for name in known if name in wanted]

    return read


def numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in text.split(",")}))


def extent_of(options: argparse.Namespace) -> Extent:
    extent = QUICK if options.quick else Extent()
    given = {
        field.name: getattr(options, field.name)
        for field in fields(Extent)
        if getattr(options, field.name) is not None
    }
    return replace(extent, **given)


if __name__ == "__main__":
    sys.exit(main())
