"""Writes the report into a directory."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from jaxloss import audit
from jaxloss.report import charts, page, pictures, tables
from jaxloss.report.findings import Findings, find

_PANELS = 15  # classes with a histogram in losses.png
_CLASSES = 30  # in confusion.png
_LISTED = 20  # pairs and slices on the page
_PAIRS = "Most confused pairs: suspects among those given the first label"
_SLICES = "Worst slices: share of suspects"

FILES = {
    "index.html": "the page",
    "samples.csv": "every sample, the most suspicious first",
    "samples.parquet": "the same as Parquet",
    "pairs.csv": "how many suspects of which label look like which other",
    "slices.csv": "parts of the data by metadata, the worst first",
    "suspects.png": "the most suspicious images",
    "map.png": "the map of the dataset",
    "losses.png": "losses, class by class",
    "confusion.png": "given against suggested labels",
    "pairs.png": "the most confused pairs",
    "slices.png": "the worst slices",
}


def write(
    directory: str | Path,
    *,
    labels: ArrayLike,
    probabilities: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    suspects: ArrayLike | None = None,
    suggested: ArrayLike | None = None,
    losses: ArrayLike | None = None,
    dynamics: audit.Dynamics | None = None,
    images: Any | None = None,
    text: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    class_names: ArrayLike | None = None,
    metadata: Mapping[str, ArrayLike] | None = None,
    title: str = "Label audit",
    rows: int = 100_000,
    thumbnails: int = 500,
    parquet: bool = False,
    force: bool = False,
    progress: bool = False,
) -> Path:
    """Writes what the audit found as one page, and as pictures and tables beside it.

    The page, ``index.html``, is one file that asks nothing of the network. It has a
    summary, the samples in the order of suspicion (to sort, filter, search and page
    through), a map of the dataset, the losses of each class, given against suggested
    labels, the most confused pairs and the worst slices. What the data says is shown as
    text, never run.

    Args:
        directory: where to write; made if it is not there.
        labels: given labels, shape ``(N,)``, integer.
        probabilities: of any model, shape ``(N, C)``, or its history ``(N, T, C)``.
            What is not given of the next five, the audit finds from it.
        scores: higher is more suspicious, shape ``(N,)``; nan leaves a sample out.
        suspects: the decision, shape ``(N,)``, boolean. Without `probabilities` it is
            `jaxloss.audit.cut` of the scores.
        suggested: label that the model would give, shape ``(N,)``, integer; -1 for
            none.
        losses: loss of each sample, shape ``(N,)``.
        dynamics: how each sample was learnt, from `jaxloss.audit.dynamics` of a
            ledger; the map of the dataset shows it.
        images: shape ``(N, H, W)``, ``(N, H, W, 3)`` or ``(N, H * H)``. Bytes are taken
            as they are; other numbers from 0, or the least, to 1, or the largest.
        text: what each sample says, shape ``(N,)``.
        ids: names of the samples, shape ``(N,)``; else their indices.
        class_names: names of the classes, shape ``(C,)``.
        metadata: further columns by name, each of shape ``(N,)``.
        title: heads the page.
        rows: samples in the page's list, those most suspicious. The tables have all.
        thumbnails: samples whose image is in the page.
        parquet: also write ``samples.parquet``, which needs pyarrow.
        force: replace the files of an earlier report.
        progress: show a bar for each step.

    Returns:
        The path of the page.

    Raises:
        FileExistsError: a file of a report is there, and `force` is not given.
        ValueError: neither `probabilities` nor `scores` is given, a shape is wrong, a
            label is out of range, or probabilities do not sum to 1.
        TypeError: a column is not of its kind.

    Guarantees:
        - Nothing is written if an argument is wrong.
        - A sample with nan for probabilities is named on the page, and changes no
          other.
        - The tables hold every sample, whatever the page shows.

    Examples:
        >>> import tempfile
        >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]])
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     written = write(
        ...         directory, labels=[0, 0, 1, 1], probabilities=probabilities)
        ...     written.name, (written.parent / "samples.csv").read_text().split()[1]
        ('index.html', '1,3,1,0,1,0.8,2.30259,0.1,0.9')
    """
    refuse_to_overwrite(directory, force=force)
    found = find(
        labels=labels,
        probabilities=probabilities,
        scores=scores,
        suspects=suspects,
        suggested=suggested,
        losses=losses,
        dynamics=dynamics,
        ids=ids,
        class_names=class_names,
        metadata=metadata,
    )
    return write_findings(
        directory,
        found,
        images=images,
        text=text,
        title=title,
        rows=rows,
        thumbnails=thumbnails,
        parquet=parquet,
        progress=progress,
    )


def write_findings(
    directory: str | Path,
    found: Findings,
    *,
    images: Any | None,
    text: ArrayLike | None,
    title: str,
    rows: int,
    thumbnails: int,
    parquet: bool,
    progress: bool,
) -> Path:
    """Writes the report of findings, in place of one that is there."""
    if parquet:
        import pyarrow  # noqa: F401 (if it is missing, say so before anything is done)
    words = None if text is None else np.asarray(text)
    for name, column in (("text", words), ("images", images)):
        if column is not None and np.shape(column)[:1] != found.labels.shape:
            raise ValueError(
                f"`{name}` must have one entry for each of the {len(found.labels)} "
                f"labels, got shape {np.shape(column)}."
            )
    pairs, slices = _pairs(found), _slices(found)
    jobs = _jobs(found, images, words, pairs, slices, parquet, progress)
    with tqdm(total=1 + len(jobs), unit="file", disable=not progress) as bar:
        bar.set_description("index.html")
        beside = [(name, FILES[name]) for name in jobs]
        html = page.render(
            found,
            page.Beside(pairs[:_LISTED], slices, beside),
            title=title,
            rows=rows,
            pictures=thumbnails,
            images=images,
            text=words,
        )
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:  # none of an earlier report may be taken for one of this
            (directory / name).unlink(missing_ok=True)
        bar.update()
        for name, job in jobs.items():
            bar.set_description(name)
            job(directory / name)
            bar.update()
    path = directory / "index.html"  # the last, so that a page has all its files
    path.write_text(html, encoding="utf-8")
    return path


def refuse_to_overwrite(directory: str | Path, *, force: bool) -> None:
    """Raises FileExistsError if a file of a report is there already."""
    there = [name for name in FILES if (Path(directory) / name).exists()]
    if there and not force:
        raise FileExistsError(
            f"{directory} has {there[0]} already. Take another directory, or replace "
            "the report with `force`."
        )


def _jobs(
    found: Findings,
    images: Any | None,
    text: NDArray | None,
    pairs: list[dict[str, Any]],
    slices: list[dict[str, Any]],
    parquet: bool,
    progress: bool,
) -> dict[str, Callable[[Path], None]]:
    """What writes each file; a file that would be empty is not among them."""
    table = tables.columns(found, text)
    jobs: dict[str, Callable[[Path], None]] = {
        "samples.csv": lambda path: tables.write_csv(path, table, progress=progress)
    }
    if parquet:
        jobs["samples.parquet"] = lambda path: tables.write_parquet(path, table)
    if images is not None:
        jobs["suspects.png"] = lambda path: pictures.suspects(path, found, images)
    if (drawn := charts.dataset_map(found)) is not None:
        jobs["map.png"] = partial(pictures.dataset_map, findings=found, drawn=drawn)
    if (histograms := charts.loss_histograms(found, _PANELS)) is not None:
        jobs["losses.png"] = partial(pictures.losses, drawn=histograms)
    if (counted := charts.confusion(found, _CLASSES)) is not None:
        jobs["confusion.png"] = partial(
            pictures.confusion, findings=found, drawn=counted
        )
    for name, rows, keys, title in (
        ("pairs", pairs, ("given", "suggested", "count", "share"), _PAIRS),
        ("slices", slices, ("column", "value", "count", "suspects", "share"), _SLICES),
    ):
        if rows:
            columns = {key: np.array([row[key] for row in rows]) for key in keys}
            jobs[f"{name}.csv"] = partial(tables.write_csv, table=columns)
            top = [tuple(str(row[key]) for key in keys[:2]) for row in rows[:_LISTED]]
            shares = [row["share"] for row in rows[:_LISTED]]
            jobs[f"{name}.png"] = partial(
                pictures.bars, title=title, names=top, shares=shares
            )
    return jobs


def _pairs(found: Findings) -> list[dict[str, Any]]:
    if found.suggested is None:
        return []
    pairs = audit.confused_pairs(found.labels, found.suggested, where=found.suspects)
    names = found.class_names
    return [
        {
            "given": names[given],
            "suggested": names[suggested],
            "classes": (given, suggested),
            "count": count,
            "share": share,
        }
        for given, suggested, count, share in zip(
            *(column.tolist() for column in pairs), strict=True
        )
    ]


def _slices(found: Findings) -> list[dict[str, Any]]:
    """Slices with a share of suspects above that of all, by two standard errors."""
    if not found.suspects.any():
        return []
    suspects = np.where(np.isnan(found.scores), np.nan, found.suspects)
    overall = float(np.nanmean(suspects))
    return [
        {
            "column": part.column,
            "value": part.value,
            "count": part.size,
            "suspects": round(part.mean * part.size),
            "share": part.mean,
            "times": part.mean / overall,
        }
        for part in audit.worst_slices(suspects, found.metadata, k=_LISTED)
        if part.mean - 2 * part.error > overall
    ]
