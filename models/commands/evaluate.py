"""`cardea models evaluate WHAT`: figures of a net or a rule on pictures with truth, as JSON on stdout."""

import argparse
import importlib

from models.commands import print_json

EVALUATIONS: dict[str, tuple[str, str]] = {  # name -> module with `add_arguments` and `evaluate`, and what it measures
    "detection": ("models.evaluate.detection", "average precision of a detector of faces or persons"),
    "floor": ("models.evaluate.floor", "from which score on a person net's finds are worth following"),
    "gating": ("models.evaluate.gating", "exit and open rates, precision and time of a gate, on clips with truth"),
    "sweep": ("models.evaluate.sweep", "the published gate over cut point and threshold, with a plot"),
    "scenes": ("models.evaluate.scenes", "the gate's constants chosen with each scene left out, judged on that scene"),
    "precisions": ("models.evaluate.precisions", "what the 8-bit detector finds against its float twin"),
    "verification": ("models.evaluate.verification", "whether two pictures show one person: folds and error rates"),
    "identification": ("models.evaluate.identification", "who of many is on a picture, and who is none of them"),
    "quality": ("models.evaluate.quality", "whether the quality score knows which faces will not be recognised"),
    "fusion": ("models.evaluate.fusion", "how several templates of one person should be made one similarity"),
    "junk": ("models.evaluate.junk", "what of that which is no face passes the quality gate, and whom it matches"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-command per evaluation."""
    evaluations = parser.add_subparsers(dest="evaluation", required=True, metavar="WHAT")
    for name, (module, summary) in EVALUATIONS.items():
        evaluation = evaluations.add_parser(name, help=summary, description=summary)
        importlib.import_module(module).add_arguments(evaluation)
        evaluation.add_argument("--json", action="store_true", help="print JSON on one line (else indented)")


def run(arguments: argparse.Namespace) -> int:
    """Run one evaluation and print its figures."""
    module = importlib.import_module(EVALUATIONS[arguments.evaluation][0])
    print_json(module.evaluate(arguments), on_one_line=arguments.json)
    return 0
