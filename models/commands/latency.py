"""`cardea models latency WHAT`: predicts how long nets take on a device, from times of random ones."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.errors import SetupError
from models.commands import print_json, say
from models.latency import dataset, measuring
from models.latency.card import Card, fitted
from models.latency.cells import SPACES
from models.latency.features import figures, fixed
from models.latency.measuring import PRECISIONS
from models.latency.predictors import PREDICTORS
from models.latency.stand_alone import CLOCKS
from models.latency.vectors import VECTORS

Verb = Callable[[argparse.Namespace], dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="WHAT")
    for name, (_, summary, add) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        add(verb)
        verb.add_argument("--json", action="store_true", help="print JSON on one line (else indented)")


def run(arguments: argparse.Namespace) -> int:
    """Run one verb and print its figures."""
    print_json(VERBS[arguments.verb][0](arguments), on_one_line=arguments.json)
    return 0


def collect(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time random nets on this machine."""
    head = measuring.surroundings(arguments.threads, arguments.precision, arguments.clock)
    plans = measuring.plans_of(arguments.space, arguments.count, arguments.seed)
    measuring.measure(arguments.out, head, plans, arguments.runs, arguments.resume, say)
    data = dataset.read(arguments.out)
    return {"nets": len(data.nets), "target": asdict(data.target), "ceiling": dataset.ceiling_of(data)}


def nets(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write random nets for another device."""
    plans = measuring.plans_of(arguments.space, arguments.count, arguments.seed)
    return {"nets": measuring.write_folder(arguments.out, plans, arguments.precision), "folder": str(arguments.out)}


def fit(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit one predictor and keep it."""
    card = fitted(dataset.read(arguments.dataset), arguments.predictor, arguments.training, arguments.features)
    card.save(arguments.out)
    return _described(card)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit several predictors and keep none."""
    data = dataset.read(arguments.dataset)
    rows = {}
    for name in arguments.predictor or PREDICTORS:
        say(f"fitting {name}")
        rows[name] = fitted(data, name, arguments.training).scores
    return {"target": asdict(data.target), "nets": len(data.nets), "ceiling": dataset.ceiling_of(data), "scores": rows}


def predict(arguments: argparse.Namespace) -> dict[str, Any]:
    """Predict the time of one net, and measure it where that is asked for."""
    card = Card.load(arguments.predictor)
    try:
        content = arguments.model.read_bytes()
    except OSError as error:
        raise SetupError(f"{arguments.model} cannot be read ({error.strerror}); give an ONNX file") from error
    net = fixed(content, arguments.shape)
    (predicted,) = card.predict([figures(net)]).tolist()
    answer: dict[str, Any] = {"model": str(arguments.model), "predictor": card.name, "target": asdict(card.target)}
    answer |= {"milliseconds": predicted, "mape_in_test": card.scores["mape"]}
    if arguments.measure:
        target = card.target
        here = measuring.surroundings(target.threads, target.precision, target.clock)
        target.require(**{name: here[name] for name in ("device", "runtime", "version")})
        measured = measuring.milliseconds(net, target.threads, target.clock)
        answer |= {"measured_milliseconds": measured, "error": predicted / measured - 1}
    return answer


def _described(card: Card) -> dict[str, Any]:
    names = {"predictor": card.name, "target": asdict(card.target), "training": card.training}
    return names | {"scores": card.scores, "ceiling": card.ceiling}


def _add_nets(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--count", type=int, required=True, help="how many random nets")
    verb.add_argument("--out", type=Path, required=True, help="data set, or folder of nets, to write")
    verb.add_argument("--space", choices=SPACES, default="mobile", help="family of cells (mobile)")
    verb.add_argument("--seed", type=int, default=0, help="the same seed gives the same nets (0)")
    verb.add_argument("--precision", choices=PRECISIONS, default="fp32")


def _add_collect(verb: argparse.ArgumentParser) -> None:
    _add_nets(verb)
    verb.add_argument("--threads", type=int, default=1, help="of the runtime (1)")
    verb.add_argument("--clock", choices=CLOCKS, default="wall", help="thread leaves out other programs' turns (wall)")
    verb.add_argument("--runs", type=int, default=3, help="times that all nets are gone through (3)")
    verb.add_argument("--resume", action="store_true", help="go on with a file that is there")


def _add_data(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("dataset", type=Path)
    verb.add_argument("--training", type=int, metavar="N", help="nets to learn from (7 in 10); the others are the test")


def _add_fit(verb: argparse.ArgumentParser) -> None:
    _add_data(verb)
    verb.add_argument("--predictor", choices=PREDICTORS, required=True)
    verb.add_argument("--features", choices=VECTORS, help="what boosting sees of a net (graph)")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE", help="predictor to write")


def _add_compare(verb: argparse.ArgumentParser) -> None:
    _add_data(verb)
    verb.add_argument("--predictor", choices=PREDICTORS, action="append", help="may be given several times (all)")


def _add_predict(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("model", type=Path, metavar="MODEL.onnx")
    verb.add_argument("--predictor", type=Path, required=True, metavar="FILE", help="what latency fit has written")
    verb.add_argument("--shape", type=_shape, metavar="1,3,240,320", help="of the input, where that is free")
    verb.add_argument("--measure", action="store_true", help="time the net here too, if this is the predictor's target")


def _shape(text: str) -> list[int]:
    sides = [int(side) for side in text.split(",")]
    if min(sides) < 1:
        raise ValueError(text)
    return sides


VERBS: dict[str, tuple[Verb, str, Callable[[argparse.ArgumentParser], None]]] = {
    "collect": (collect, "time random nets on this machine", _add_collect),
    "nets": (nets, "write random nets, and a program that times them on another device", _add_nets),
    "fit": (fit, "fit a predictor to a data set of times", _add_fit),
    "compare": (compare, "score several predictors on a data set of times", _add_compare),
    "predict": (predict, "predict how long a net takes", _add_predict),
}
