"""The findings as tables: CSV, which holds every sample, and Parquet."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jaxloss.report.findings import Findings

_ROWS = 20_000  # written at a time


def columns(findings: Findings, text: NDArray | None) -> dict[str, NDArray]:
    """Every column of every sample, the most suspicious first, those left out last."""
    found = findings
    order = np.concatenate([found.order, found.left_out])
    names = np.asarray(found.class_names)
    table = {"rank": np.arange(1, len(order) + 1), "sample": order}
    if found.ids is not None:
        table["id"] = found.ids[order]
    table["given"] = names[found.labels[order]]
    if found.suggested is not None:
        suggested = found.suggested[order]
        table["suggested"] = np.where(suggested >= 0, names[suggested], "")
    table["suspect"] = found.suspects[order]
    for name, column in (
        ("score", found.scores),
        ("loss", found.losses),
        ("given_probability", found.given_probability),
        ("suggested_probability", found.suggested_probability),
    ):
        if column is not None:
            table[name] = column[order]
    further = dict(found.dynamics)
    if text is not None:
        further["text"] = text
    for name, column in found.metadata.items():
        taken = name in table or name in further
        further[f"metadata {name}" if taken else name] = column
    return table | {name: column[order] for name, column in further.items()}


def write_csv(path: Path, table: Mapping[str, Any], *, progress: bool = False) -> None:
    """One line for each row, after a line of names; what is missing is left empty."""
    rows = len(next(iter(table.values()), ()))
    with (
        open(
            path, "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as file,
        tqdm(
            total=rows, desc=path.name, unit="row", disable=not progress, leave=False
        ) as bar,
    ):
        lines = csv.writer(file)
        lines.writerow(table)
        for start in range(0, rows, _ROWS):
            stop = min(start + _ROWS, rows)
            part = [_written(column[start:stop]) for column in table.values()]
            lines.writerows(zip(*part, strict=True))
            bar.update(stop - start)


def write_parquet(path: Path, table: Mapping[str, Any]) -> None:
    """The same as Parquet, where what is missing is null."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.table(
            {
                name: pyarrow.array(np.asarray(column), from_pandas=True)
                for name, column in table.items()
            }
        ),
        path,
    )


def _written(column: NDArray) -> list:
    if np.issubdtype(column.dtype, np.floating):
        return ["" if x != x else f"{x:.6g}" for x in column.tolist()]
    if column.dtype == np.bool_:
        return column.astype(np.int8).tolist()
    return column.tolist()
