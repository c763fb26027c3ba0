"""One module per command: its options, and the wiring of the process it runs."""

import json


def print_json(value: object, indent: int | None = None) -> None:
    """Print JSON on stdout, on one line unless an indent is given."""
    print(json.dumps(value, default=str, indent=indent), flush=True)
