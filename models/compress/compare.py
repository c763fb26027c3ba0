"""Compares run files over several seeds: a table with intervals, and accuracy against each cost as a plot.

Run files of one task, net and base share their bases, so two ways of one seed begin with the same weights and answer to
the same pictures; their difference is taken on those.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from app.errors import SetupError
from app.intervals import DRAWS
from app.types import Array
from models.compress.grid import BASES, Tasks
from models.compress.paired import SIDES
from models.compress.pareto import Panel, Point, pareto
from models.compress.run import ANSWERS, Say, compress
from models.compress.run_file import RunFile, tables

TABLE, PLOT, BASE = "compare.json", "compare.svg", "base"
COSTS = ("parameters", "macs", "file_bytes", "latency")  # of the plot
SHARES = (*COSTS, "latency_p95", "peak_bytes")  # of the table
MEANS = ("accuracy", "macro_f1", "agreement_with_base", "kl_from_base", "parameters", "nonzero", "macs", "file_bytes")


def compare(
    paths: Sequence[Path], seeds: Sequence[int], out: Path, folders: Sequence[Path], say: Say
) -> dict[str, Any]:
    """Do the runs that are not finished; return the table, which is written behind each run with its plot.

    Args:
        paths: run files; each is called by its name without ".toml".
        seeds: with which each is done, in the place of its own.
        out: folder of the runs, the table and the plot.
        folders: of packed sets.
        say: is told how far the work is.

    Raises:
        SetupError: two files have one name, learn different things, one cannot be run, or its report is an old one.
    """
    plans = {path.stem: {seed: _seeded(path, seed) for seed in seeds} for path in paths}
    if len(plans) < len(paths) or not seeds:
        raise SetupError("run files need different names, and one seed at least")
    if len({(plan.task, plan.net, plan.base) for of_seeds in plans.values() for plan in of_seeds.values()}) > 1:
        raise SetupError("run files that are compared have the same task, net and base")
    tasks, done = Tasks(folders), dict[str, dict[int, Path]]()
    reports: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for name, of_seeds in plans.items():
            plan, folder = of_seeds[seed], out / f"{name}-{seed}"
            report = compress(plan, tasks.of(plan.task), folder, out / BASES, say)
            _check(report, folder)
            reports.setdefault(name, []).append(report)
            done.setdefault(name, {})[seed] = folder
            table = _table(reports, done)
            (out / TABLE).write_text(json.dumps(table, indent=2) + "\n")
            (out / PLOT).write_text(_drawn(table))
    return table


def as_text(table: Mapping[str, Any]) -> str:
    """Return a table's main figures in columns."""
    rows = [("", "accuracy", "minus base", "95 %", "params", "MACs", "bytes", "latency", "p95", "memory")]
    for name, way in table["ways"].items():
        minus, shares = way["minus_base"], [f"{way['of_base'][cost]:.3f}" for cost in SHARES]
        low, high = minus["interval"]
        rows.append((name, f"{way['accuracy']:.4f}", f"{minus['accuracy']:+.4f}", f"{low:+.4f} {high:+.4f}", *shares))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def gains(path: Path) -> Array:
    """Return for the test pictures (n,) of a finished run whether its net is right less whether the base is."""
    with np.load(path / ANSWERS) as arrays:
        right = (arrays["answers"] == arrays["labels"]).astype(np.float32)
    return np.asarray(right[-1] - right[0], np.float32)


def over_seeds(seeds: Sequence[Array]) -> dict[str, Any]:
    """Return the mean of gains (n,) of each seed with 95 % of a bootstrap over seeds and pictures.

    All seeds answer to the same pictures, so one draw of pictures is that of every seed: drawn anew for each, the luck
    of the pictures would be averaged away. Pictures with the same gains in all seeds are drawn together, by their
    counts; the distribution is the same.
    """
    gains, random = np.stack(seeds), np.random.default_rng(0)  # (s, n)
    alike, counts = np.unique(gains, axis=1, return_counts=True)  # (s, k), (k,)
    drawn = random.multinomial(gains.shape[1], counts / counts.sum(), DRAWS)
    means = drawn @ alike.T / gains.shape[1]  # (DRAWS, s)
    rows = random.integers(len(gains), size=means.shape)
    means = np.take_along_axis(means, rows, axis=1).mean(axis=1)
    return {
        "accuracy": fmean(float(values.mean()) for values in seeds),
        "seeds": [float(values.mean()) for values in seeds],
        "interval": [float(bound) for bound in np.quantile(means, SIDES)],
    }


def _check(report: Mapping[str, Any], folder: Path) -> None:
    """See that a run was measured as runs are now.

    Raises:
        SetupError: it was finished before one of the figures was taken.
    """
    missing = [cost for cost in SHARES if cost not in report["base"]["of_base"]]
    if missing:
        raise SetupError(f"{folder} was measured without {', '.join(missing)}; remove the folder to do it again")


def _seeded(path: Path, seed: int) -> RunFile:
    given = copy.deepcopy(tables(path))
    given["seed"] = seed
    return RunFile.of(given, str(path))


def _table(
    reports: Mapping[str, Sequence[Mapping[str, Any]]], folders: Mapping[str, Mapping[int, Path]]
) -> dict[str, Any]:
    first = next(iter(reports.values()))
    bases = [report["base"] for report in first]
    return {
        "interval": f"95 %, bootstrap over seeds and pictures, {DRAWS} draws",
        "task": first[0]["resolved"]["task"],
        "net": first[0]["resolved"]["net"],
        "data": first[0]["data"],
        "versions": first[0]["versions"],
        "base": {name: fmean(base[name] for base in bases) for name in MEANS}
        | {"seeds": [base["accuracy"] for base in bases]},
        "ways": {
            name: _way(of_seeds, [gains(folder) for folder in folders[name].values()], list(folders[name]))
            for name, of_seeds in reports.items()
        },
    }


def _way(reports: Sequence[Mapping[str, Any]], differences: Sequence[Array], seeds: Sequence[int]) -> dict[str, Any]:
    figures = [report["stages"][-1]["figures"] if report["stages"] else report["base"] for report in reports]
    return {
        "kinds": [stage["kind"] for stage in reports[0]["stages"]],
        "seeds": list(seeds),
        **{name: fmean(one[name] for one in figures) for name in MEANS},
        "of_base": {cost: fmean(one["of_base"][cost] for one in figures) for cost in SHARES},
        "repeat": fmean(one["latency_ms"]["repeat"] for one in figures),
        "minus_base": over_seeds(differences),
        "epochs": fmean(report["epochs"] for report in reports),
        "seconds": fmean(sum(stage["seconds"] for stage in report["stages"]) for report in reports),
        "accepted": [report["accepted"] for report in reports],
    }


def _drawn(table: Mapping[str, Any]) -> str:
    panels = []
    for cost in COSTS:
        points = [Point(BASE, 1.0, 0.0, 0.0, 0.0)]
        for name, way in table["ways"].items():
            minus = way["minus_base"]
            points.append(Point(name, way["of_base"][cost], minus["accuracy"], *minus["interval"]))
        panels.append(Panel(f"{cost}, share of the base's", points))
    return pareto(panels, "accuracy minus the base's")
