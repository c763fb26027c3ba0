"""`cardea models evaluate sweep`: the published rule over cut point and threshold, as in the curves of its paper.

Every pair of a block and a threshold is measured like `gating --mode published`. The plot has precision and time over
the threshold, one line for each block; with a single threshold both are over the blocks.
"""

import argparse
from pathlib import Path
from typing import Any

from app.errors import SetupError
from app.options import positive
from models.evaluate.gating import add_clips, conditions, measured, pooled
from models.evaluate.modes import Wanted, prepare
from models.evaluate.plot import Line, Panel, plot
from models.evaluate.published import BLOCKS

TOLD = (
    "exit_rate_still",
    "open_rate_moving",
    "auc",
    "ap50",
    "ap50_mean_of_clips",
    "still_fp_per_frame",
    "ms_mean",
    "ms_full",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_clips(parser)
    parser.add_argument("--cut", choices=BLOCKS, nargs="+", default=["b06"], help="blocks")
    parser.add_argument("--threshold", type=positive, nargs="+", default=[0.1, 0.2, 0.3, 0.4, 0.5], help="thresholds")
    parser.add_argument("--plot", type=Path, required=True, metavar="SVG", help="file to write the curves into")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all pairs, write the plot and return the figures, one row a pair.

    Raises:
        SetupError: clips and masks do not fit, a file cannot be read, a net cannot be fetched, or the plot's folder is
            missing.
    """
    if not arguments.plot.parent.is_dir():  # measuring takes hours
        raise SetupError(f"{arguments.plot.parent} is no folder: make it or give --plot another place")
    pairs = [(cut, threshold) for cut in arguments.cut for threshold in arguments.threshold]
    contests = (prepare(Wanted("published", arguments.cache, cut, threshold)) for cut, threshold in pairs)
    rows, common = [], {}
    for (cut, threshold), (contest, results) in zip(pairs, measured(arguments, contests), strict=True):
        figures, common = pooled(results), conditions(arguments, contest)
        rows.append({"cut": cut, "threshold": threshold, **{name: figures[name] for name in TOLD}})
    arguments.plot.write_text(plot([_panel("AP50", "ap50", rows), _panel("ms of a frame", "ms_mean", rows)]))
    return {**common, "plot": str(arguments.plot), "rows": rows}


def _panel(title: str, figure: str, rows: list[dict[str, Any]]) -> Panel:
    rows = [row for row in rows if row[figure] is not None]
    if len({row["threshold"] for row in rows}) > 1:
        blocks = dict.fromkeys(row["cut"] for row in rows)
        lines = [Line(cut, [(row["threshold"], row[figure]) for row in rows if row["cut"] == cut]) for cut in blocks]
        return Panel(title, "threshold", lines)
    return Panel(title, "block", [Line("", [(int(row["cut"][1:]), row[figure]) for row in rows])])
