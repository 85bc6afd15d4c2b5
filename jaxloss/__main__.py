"""The command line: ``python -m jaxloss audit scores.npz --out DIR``."""

import argparse
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from jaxloss import audit

if TYPE_CHECKING:  # it needs the extra `report`, of which `main` speaks
    from jaxloss.report.findings import Findings

_KNOWN = {
    "labels",
    "probabilities",
    "logits",
    "losses",
    "images",
    "text",
    "ids",
    "class_names",
}
_NAMED = 20  # samples left out that are named

_INPUT = """\
input: an .npz file, as numpy.savez writes it, with
  labels          given labels, integers in [0, C), shape (N,)
and one of
  probabilities   shape (N, C), or (N, T, C) for the T epochs of a training
  logits          the same before the softmax
and, if you like,
  losses          shape (N,); else the log-loss of the probabilities
  images          shape (N, H, W), (N, H, W, 3) or (N, H * H)
  text            strings, shape (N,)
  ids             names of the samples, shape (N,)
  class_names     strings, shape (C,)
Every other array must have shape (N,) and is a column of metadata, by which the
report looks for slices with many suspects.

Probabilities should be out of sample (cross-validation), or of all epochs of one
training. A row with nan is left out and named; it does not stop the others.

exit codes: 0 the report is written; 1 the input is wrong, or a report is there
already; 2 the command is wrong. Nothing is written unless the code is 0.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _audit(options)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except ImportError as error:
        print(f"error: {error}. pip install 'jaxloss[parquet]'", file=sys.stderr)
    else:
        return 0
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxloss", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser(
        "audit",
        help="find wrong labels in any model's probabilities and write a report",
        description="Finds labels that a model contradicts, and writes a report of "
        "them: one page of HTML, pictures and tables.",
        epilog=_INPUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, help="the .npz file, see below")
    command.add_argument(
        "--out", type=Path, required=True, help="directory of the report", metavar="DIR"
    )
    command.add_argument(
        "--force", action="store_true", help="replace a report that is there"
    )
    command.add_argument("--title", default="Label audit", help="heads the page")
    command.add_argument(
        "--rows",
        type=_count,
        default=100_000,
        help="samples in the page's list, the most suspicious (%(default)s)",
    )
    command.add_argument(
        "--thumbnails",
        type=_count,
        default=500,
        help="samples whose image is in the page (%(default)s)",
    )
    command.add_argument(
        "--parquet", action="store_true", help="write samples.parquet, too"
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {number}")
    return number


def _audit(options: argparse.Namespace) -> None:
    from jaxloss.report.findings import find
    from jaxloss.report.writing import refuse_to_overwrite, write_findings

    refuse_to_overwrite(options.out, force=options.force)
    with _opened(options.file) as stored:
        labels, probabilities = _required(stored)
        further = [name for name in stored.files if name not in _KNOWN]
        metadata = {name: _read(stored, name) for name in further}
        found = find(
            labels=labels,
            probabilities=probabilities,
            losses=_read_if_there(stored, "losses"),
            ids=_read_if_there(stored, "ids"),
            class_names=_read_if_there(stored, "class_names"),
            metadata=metadata,
        )
        del probabilities  # the images may need its place
        page = write_findings(
            options.out,
            found,
            images=_read_if_there(stored, "images"),
            text=_read_if_there(stored, "text"),
            title=options.title,
            rows=options.rows,
            thumbnails=options.thumbnails,
            parquet=options.parquet,
            progress=not options.quiet,
        )
    _summarise(found, page)


def _opened(file: Path) -> NpzFile:
    if not file.exists():
        raise ValueError(f"there is no file {file}.")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is no .npz file. Write it with `numpy.savez`.")
    return np.load(file, allow_pickle=False)


def _read(stored: NpzFile, name: str) -> NDArray:
    """An array of the file; never a pickle."""
    try:
        return stored[name]
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"`{name}` cannot be read: {error}.") from None
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(
            f"`{name}` holds Python objects, which are not read, as they may run "
            "code. Save strings with `numpy.array(strings, dtype=str)`."
        ) from None


def _read_if_there(stored: NpzFile, name: str) -> NDArray | None:
    return _read(stored, name) if name in stored.files else None


def _required(stored: NpzFile) -> tuple[NDArray, NDArray]:
    present = ", ".join(f"`{name}`" for name in stored.files) or "nothing"
    if "labels" not in stored.files:
        raise ValueError(f"`labels` must be in the file, which has {present}.")
    both = [name for name in ("probabilities", "logits") if name in stored.files]
    if len(both) != 1:
        raise ValueError(
            "either `probabilities` or `logits` must be in the file, which has "
            f"{present}."
        )
    values = _read(stored, both[0])
    if both[0] == "logits":
        wide = values.dtype.itemsize >= 4 and values.dtype.kind == "f"
        values = audit.probabilities(values, out=values if wide else None)
    return _read(stored, "labels"), values


def _summarise(found: "Findings", page: Path) -> None:
    suspects, scored = int(found.suspects.sum()), len(found.order)
    print(f"{len(found.labels):,} samples, {len(found.class_names):,} classes")
    if len(found.left_out):
        named = ", ".join(map(str, found.left_out[:_NAMED].tolist()))
        rest = len(found.left_out) - _NAMED
        more = f" and {rest:,} more, at the end of samples.csv" if rest > 0 else ""
        number = f"{len(found.left_out):,} row{'s' * (len(found.left_out) > 1)}"
        print(
            f"warning: {number} with nan left out, by index: {named}{more}",
            file=sys.stderr,
        )
    share = f" ({suspects / scored:.1%})" if scored else ""
    print(f"{suspects:,} suspects{share}")
    print(f"report: {page}")


if __name__ == "__main__":
    sys.exit(main())
