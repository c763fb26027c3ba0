"""Requests made up from the OpenAPI document, right and wrong ones: what it promises is what the server does.

The longer run, against a server that is not in use. First everything but two checks, then bad keys alone, at the pace
that the server allows: the thirty-first in a minute gets 429, whoever sends it. Data that only looks right, such as a
picture of random bytes, is refused, so `positive_data_acceptance` stays out::

    export SCHEMATHESIS_HOOKS=tests.schemathesis_hooks
    run="schemathesis run http://127.0.0.1:8000/openapi.json --exclude-operation-id stream_events \
        --exclude-operation-id check_camera"
    $run -H "Authorization: Bearer $KEY" --max-examples 15 --max-time 600 \
        --exclude-checks positive_data_acceptance,ignored_auth
    $run -H "Authorization: Bearer $KEY" --max-examples 1 --phases fuzzing --mode positive --checks ignored_auth \
        --rate-limit 12/m
"""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from fixtures_api import Api
from fixtures_routes import furnish, routes

EXAMPLES = 2  # per operation and kind
ENDLESS = {"stream_events", "check_camera"}  # a stream, and a look at whatever host was made up


@pytest.mark.slow
def test_the_server_does_what_the_description_says(api: Api, tmp_path: Path) -> None:
    import hypothesis  # slow to import: not for every run of pytest
    import schemathesis
    from hypothesis.configuration import set_hypothesis_home_dir
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

    set_hypothesis_home_dir(tmp_path)
    ids, headers = furnish(api), {"Authorization": f"Bearer {api.key()}"}
    schema: Any = schemathesis.openapi.from_url(f"{api.address}/openapi.json")
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    tried: set[tuple[str, str]] = set()

    def try_operation(operation: Any, mode: GenerationMode) -> None:
        @settings
        @hypothesis.given(case=operation.as_strategy(mode))
        def run(case: Any) -> None:
            if mode is GenerationMode.POSITIVE:
                case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
            case.call_and_validate(headers=headers, excluded_checks=[ignored_auth, positive_data_acceptance])
            tried.add((case.method, operation.path))

        run()

    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in sorted(operations, key=lambda one: one.method == "delete"):
        if operation.definition.raw["operationId"] not in ENDLESS:
            try_operation(operation, GenerationMode.POSITIVE)
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # without parameters nothing can be wrong
                try_operation(operation, GenerationMode.NEGATIVE)
    assert len(tried) == len(routes(api)) - len(ENDLESS)
