"""One module per command: its options, and the wiring of the process it runs."""

import json


def print_json(value: object) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(value, default=str), flush=True)
