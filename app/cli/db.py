"""`cardea db check`: whether the database fits this version, its keys and itself. Changes nothing."""

import argparse
import sys
from contextlib import closing
from dataclasses import asdict

from app.cli import print_json
from app.keyring import Keyring
from app.settings import Settings
from app.store.engine import Store
from app.store.health import check
from app.vision.embedders import Embedders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do."""
    parser.add_argument("task", choices=("check",), help="check: look, and change nothing")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 when all is well, 1 when something needs doing.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    settings = Settings()
    with closing(Store(settings.database(), Keyring(settings.keys()))) as store:
        findings = check(store, Embedders.installed().ids)
    if arguments.json:
        print_json({"ok": all(finding.ok for finding in findings), "findings": [asdict(one) for one in findings]})
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.name}: {finding.found}")
            if not finding.ok:
                print(f"     {finding.advice}", file=sys.stderr)
    return 0 if all(finding.ok for finding in findings) else 1
