"""Cells up to isomorphism, the nets built of them, and what is read from a graph, counted by hand."""

import json
from dataclasses import replace
from itertools import islice, permutations, product

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.errors import SetupError
from app.vision.artefact import shipped
from app.vision.runtime import ort
from models.coded_weights import with_coded_weights
from models.latency.cells import (
    BENCH201_OPERATIONS,
    OPERATIONS,
    SPACES,
    Cell,
    Configuration,
    Plan,
    canonical,
    cell_fingerprint,
    drawn_plans,
    every_cell,
    from_bench201,
    on_paths,
)
from models.latency.features import KINDS, Figures, Operator, figures, fixed
from models.latency.measuring import in_int8
from models.latency.nets import INPUT, built
from models.latency.vectors import VECTORS, cell_vector, graph_vector, rows
from models.starter.graph import Graph, Map

BENCH101 = ("conv3x3", "conv1x1", "maxpool3x3")
CHAIN = Cell(("conv3x3",), ((0, 1), (1, 2)))
SMALL = Configuration(size=24, stem="plain", channels=16, stages=1, cells=1, activation="relu")


@pytest.mark.parametrize(("vertices", "count"), [(2, 1), (3, 6), (4, 84), (5, 2441)])
def test_cells_of_nas_bench_101_up_to_isomorphism(vertices: int, count: int) -> None:
    assert len({canonical(cell) for cell in every_cell(vertices, 9, BENCH101)}) == count


def test_cells_of_nas_bench_201() -> None:
    cells = [from_bench201(operations) for operations in product(BENCH201_OPERATIONS, repeat=6)]
    assert (len(cells), sum(cell is not None for cell in cells)) == (15_625, 15_284)


BENCH201 = {  # on the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3
    "a skip alone": (("none", "none", "none", "skip", "none", "none"), Cell((), ((0, 1),))),
    "no path": (("conv1x1", "none", "none", "none", "none", "skip"), None),
    "a dead end is left out": (
        ("conv1x1", "conv3x3", "none", "skip", "none", "none"),
        Cell((), ((0, 1),)),
    ),
    "skips join nodes": (
        ("skip", "none", "conv3x3", "none", "none", "skip"),
        Cell(("conv3x3",), ((0, 1), (1, 2))),
    ),
    "a chain beside an operation": (
        ("conv1x1", "none", "conv3x3", "avgpool3x3", "none", "skip"),
        Cell(("conv1x1", "avgpool3x3", "conv3x3"), ((0, 1), (0, 2), (1, 3), (2, 4), (3, 4))),
    ),
}


@pytest.mark.parametrize(("operations", "expected"), BENCH201.values(), ids=BENCH201)
def test_operations_on_edges_become_vertices(operations: tuple[str, ...], expected: Cell | None) -> None:
    assert from_bench201(operations) == expected


WRONG_CELLS = {
    "backwards": (("conv1x1",), ((0, 1), (2, 1)), "later one"),
    "twice": ((), ((0, 1), (0, 1)), "twice"),
    "off every path": (("conv1x1",), ((0, 1), (0, 2)), "off every path"),
    "unknown": (("conv9x9",), ((0, 1), (1, 2)), "conv9x9"),
}


@pytest.mark.parametrize(("operations", "edges", "said"), WRONG_CELLS.values(), ids=WRONG_CELLS)
def test_wrong_cells_are_refused(operations: tuple[str, ...], edges: tuple[tuple[int, int], ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cell(operations, edges)


WRONG_CONFIGURATIONS = {
    "stem": {"stem": "none"},
    "activation": {"activation": "gelu"},
    "channels, stages and cells": {"cells": 0},
    "size": {"stages": 4, "size": 16},
    "too little or too much work": {"channels": 1024},
    "grow above": {"channels": 200, "stages": 3, "size": 12},
}


@pytest.mark.parametrize(("said", "change"), WRONG_CONFIGURATIONS.items(), ids=WRONG_CONFIGURATIONS)
def test_wrong_configurations_are_refused_by_name(said: str, change: dict[str, str | int]) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)  # type: ignore[arg-type]


def renumbered(cell: Cell, order: tuple[int, ...]) -> Cell | None:
    """The same graph with inner vertices in another order, None where an edge would run backwards."""
    place = {0: 0, cell.vertices - 1: cell.vertices - 1}
    place |= {vertex: number for number, vertex in enumerate(order, 1)}
    edges = tuple((place[source], place[target]) for source, target in cell.edges)
    if any(source >= target for source, target in edges):
        return None
    return Cell(tuple(cell.operations[vertex - 1] for vertex in order), edges)


@pytest.mark.parametrize("space", SPACES)
def test_the_fingerprint_is_that_of_every_renumbering(space: str) -> None:
    found = 0
    for plan in islice(drawn_plans(SPACES[space], 1), 30):
        for order in islice(permutations(range(1, plan.cell.vertices - 1)), 24):
            other = renumbered(plan.cell, order)
            if other is not None:
                found += other != plan.cell
                assert Plan(other, plan.configuration).fingerprint == plan.fingerprint
                assert cell_fingerprint(other) == cell_fingerprint(plan.cell)
    assert found


def test_what_differs_has_another_fingerprint() -> None:
    plan = Plan(CHAIN, SMALL)
    others = [Plan(Cell(("conv1x1",), CHAIN.edges), SMALL), Plan(CHAIN, replace(SMALL, activation="relu6"))]
    others.append(Plan(Cell(("conv3x3",), ((0, 1), (0, 2), (1, 2))), SMALL))
    assert len({each.fingerprint for each in [plan, *others]}) == 4


def test_random_plans_repeat_with_their_seed_and_never_twice() -> None:
    plans = list(islice(drawn_plans(SPACES["mobile"], 3), 100))
    assert plans == list(islice(drawn_plans(SPACES["mobile"], 3), 100))
    assert plans != list(islice(drawn_plans(SPACES["mobile"], 4), 100))
    assert len({plan.fingerprint for plan in plans}) == 100
    assert all(len(plan.cell.edges) <= 9 and 3 <= plan.cell.vertices <= 7 for plan in plans)
    assert {name for plan in plans for name in plan.cell.operations} == set(OPERATIONS)


def test_a_plan_survives_json() -> None:
    for plan in islice(drawn_plans(SPACES["bench201"], 0), 20):
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    with pytest.raises(ValueError, match="no plan"):
        Plan.from_json({"operations": []})


def test_adjacency_and_paths() -> None:
    cell = Cell(("conv1x1", "conv3x3"), ((0, 1), (0, 2), (1, 3), (2, 3)))
    assert cell.adjacency.tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert cell.sources(3) == [1, 2]
    assert on_paths(4, [(0, 1), (0, 2), (2, 3)]) == {0, 2, 3}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("activation", ["relu", "relu6", "prelu"])
def test_every_operation_runs_and_keeps_the_map(operation: str, activation: str) -> None:
    configuration = Configuration(25, "halving", 32, stages=2, cells=2, activation=activation)
    cell = Cell((operation, "conv1x1"), ((0, 1), (0, 2), (1, 3), (2, 3), (0, 3)))
    net = built(Plan(cell, configuration))
    (scores,) = ort.InferenceSession(net, providers=["CPUExecutionProvider"]).run(
        None, {INPUT: np.random.default_rng(0).random((1, 3, 25, 25), np.float32)}
    )
    assert scores.shape == (1, 10) and np.isfinite(scores).all() and np.ptp(scores) > 0


def test_a_plan_gives_the_same_bytes() -> None:
    assert built(Plan(CHAIN, SMALL)) == built(Plan(CHAIN, SMALL))


def test_the_count_of_a_small_net() -> None:
    """Stem 3 to 16 and one convolution 16 to 16, 3x3 at 24x24; a mean; 16 to 10."""
    found = figures(built(Plan(CHAIN, SMALL)))
    pixels = 24 * 24
    assert found.macs == pixels * (16 * 27 + 16 * 144) + 160
    assert found.parameters == 16 * 28 + 16 * 145 + 160
    assert found.peak_bytes == 2 * 4 * 16 * pixels  # an activation and what it reads
    assert [each.kind for each in found.operators] == ["conv3x3", "conv3x3", "pool", "view", "dense"]
    assert [each.sources for each in found.operators] == [(), (0,), (1,), (2,), (3,)]
    assert found.operators[1].read == found.operators[1].written == 16 * pixels
    assert found.precision == "fp32"


def test_operators_that_cost_other_than_they_look() -> None:
    plan = Plan(Cell(("inverted3x3",), ((0, 1), (0, 2), (1, 2))), SMALL)
    kinds = [each.kind for each in figures(built(plan)).operators]
    assert kinds[1:5] == ["conv1x1", "depthwise", "conv1x1", "elementwise"]  # the sum with the input comes last
    wide, deep, narrow = figures(built(plan)).operators[1:4]
    assert (wide.macs, deep.macs, narrow.macs) == (576 * 16 * 64, 576 * 64 * 9, 576 * 64 * 16)


def shortcut() -> bytes:
    """Input (1, 4, 8, 8), pooled twice, then added to the input: three maps live when the sum is made."""
    graph = Graph("shortcut", {"x": [1, 4, 8, 8]})
    first = graph.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    second = graph.node("MaxPool", first, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return graph.model({graph.node("Add", "x", second): [1, 4, 8, 8]})


def test_peak_memory_is_the_largest_live_set_and_not_the_sum() -> None:
    found = figures(shortcut())
    assert found.peak_bytes == 3 * 4 * 256
    assert sum(each.written for each in found.operators) * 4 + 4 * 256 == 4 * 4 * 256


def test_an_output_of_the_net_lives_to_the_end() -> None:
    graph = Graph("two outputs", {"x": [1, 4, 8, 8]})
    first, second = (graph.node("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1]) for _ in range(2))
    assert figures(graph.model({name: [1, 4, 8, 8] for name in (first, second)})).peak_bytes == 3 * 4 * 256


PRODUCTS = {  # operator, shapes of input, weights and output, attributes, and multiply-adds by hand
    "transposed": ("ConvTranspose", (1, 4, 5, 5), (4, 6, 3, 3), (1, 6, 7, 7), {}, 5 * 5 * 4 * 6 * 9),
    "transposed in groups": ("ConvTranspose", (1, 4, 5, 5), (4, 3, 3, 3), (1, 6, 7, 7), {"group": 2}, 25 * 4 * 3 * 9),
    "in groups": ("Conv", (1, 4, 5, 5), (6, 2, 3, 3), (1, 6, 3, 3), {"group": 2}, 9 * 6 * 2 * 9),
    "product": ("Gemm", (2, 7), (7, 3), (2, 3), {}, 2 * 7 * 3),
    "turned product": ("Gemm", (7, 2), (7, 3), (2, 3), {"transA": 1}, 2 * 7 * 3),
    "several products": ("MatMul", (5, 2, 7), (7, 3), (5, 2, 3), {}, 5 * 2 * 7 * 3),
}


@pytest.mark.parametrize(("name", "given", "weights", "made", "how", "macs"), PRODUCTS.values(), ids=PRODUCTS)
def test_multiply_adds_by_hand(
    name: str, given: tuple[int, ...], weights: tuple[int, ...], made: tuple[int, ...], how: dict[str, int], macs: int
) -> None:
    graph = Graph(name, {"x": list(given)})
    output = graph.node(name, "x", graph.constant(np.ones(weights, np.float32)), **how)
    (step,) = figures(graph.model({output: list(made)})).operators
    assert (step.macs, step.parameters) == (macs, int(np.prod(weights)))


def test_the_vector_of_a_graph_knows_its_longest_chain_and_fills_blocks_of_channels() -> None:
    steps = [Operator("conv", 1000, 1, 1, 1, 3, 20, sources) for sources in ((), (0,), (1,), (0, 2))]
    vector = np.expm1(graph_vector(Figures(tuple(steps), 4, 4, "fp32")))
    assert vector[:4] == pytest.approx([4000, 4, 4, 4])
    conv = 4 + 6 * KINDS.index("conv")
    assert vector[conv : conv + 6] == pytest.approx([4, 4000, 4, 4, 4, 4000 * 32 / 20])


def test_an_activation_that_does_not_read_alone_is_a_step_of_its_own() -> None:
    prelu = figures(built(Plan(CHAIN, replace(SMALL, activation="prelu"))))
    assert [each.kind for each in prelu.operators].count("elementwise") == 8
    assert prelu.macs == figures(built(Plan(CHAIN, SMALL))).macs


def with_free_sides() -> bytes:
    graph = Graph("free", {"x": ["batch", 3, "rows", "columns"]})
    picture = Map("x", 3, 8, 8)
    made = graph.convolution(picture, np.ones((4, 3, 3, 3)), np.zeros(4), stride=1)
    return graph.model({made.name: ["batch", 4, "rows", "columns"]})


def test_free_dimensions_are_asked_for() -> None:
    with pytest.raises(SetupError, match="x has free dimensions; fix them with --shape"):
        fixed(with_free_sides())
    with pytest.raises(SetupError, match="x has 4 dimensions, not 2"):
        fixed(with_free_sides(), [1, 3])
    assert figures(fixed(with_free_sides(), [1, 3, 10, 20])).macs == 10 * 20 * 4 * 27


def test_what_is_no_net_is_refused() -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        fixed(b"no net")


def test_a_wrong_graph_is_refused() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xyz"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "y"], ["z"])], "wrong", ends[:2], ends[2:])
    with pytest.raises(SetupError, match="shapes cannot be worked out"):
        figures(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


SHIPPED_NETS = (
    ("detector", "stem.onnx", "fp32"),
    ("detector", "tail.onnx", "fp32"),
    ("detector", "tail.int8.onnx", "int8"),
    ("embedder", "embedder.onnx", "fp32"),
    ("face_finder", "finder.onnx", "fp32"),
)


@pytest.mark.parametrize(("role", "name", "precision"), SHIPPED_NETS)
def test_shipped_nets_can_be_read(role: str, name: str, precision: str) -> None:
    content = (shipped(role).folder / name).read_bytes()
    found = figures(fixed(content, [1, 3, 320, 320] if "finder" in name else None))
    assert found.precision == precision
    weights = {tensor.name: list(tensor.dims) for tensor in onnx.load_from_string(content).graph.initializer}
    assert 0 < found.parameters <= sum(int(np.prod(shape)) for shape in weights.values())
    assert found.macs > 10 * found.parameters  # every weight of a convolution is used at many places
    assert all(source < place for place, each in enumerate(found.operators) for source in each.sources)


def test_the_integer_twin_has_the_same_work() -> None:
    folder = shipped("detector").folder
    twins = [figures(fixed((folder / name).read_bytes())) for name in ("tail.onnx", "tail.int8.onnx")]
    assert twins[0].macs == twins[1].macs


def test_weights_kept_as_codes_are_weights_of_the_operator_that_reads_them() -> None:
    graph = Graph("coded", {"x": [1, 3, 8, 8]})
    made = graph.convolution(Map("x", 3, 8, 8), np.ones((64, 3, 3, 3)), np.zeros(64), stride=1)
    floats = graph.model({made.name: [1, 64, 8, 8]})
    coded = figures(with_coded_weights(floats))
    assert coded.operators == figures(floats).operators and coded.operators[0].parameters == 64 * 28
    assert coded.parameters == 64 * 29  # the file keeps a scale a channel, too


def test_integers_are_weights_of_the_operator_that_reads_them() -> None:
    plan = Plan(CHAIN, SMALL)
    twins = [figures(net) for net in (built(plan), in_int8(built(plan), plan))]
    floats, integers = ([each.parameters for each in net.operators if each.macs] for net in twins)
    assert floats == integers == [16 * 28, 16 * 145, 160]


def test_figures_survive_json() -> None:
    plan = next(drawn_plans(SPACES["mobile"], 5))
    found = figures(built(plan), plan)
    assert Figures.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(ValueError, match="no figures"):
        Figures.from_json({"operators": []})


def test_vectors_of_all_spaces_have_one_length() -> None:
    plans = [plan for space in SPACES.values() for plan in islice(drawn_plans(space, 0), 2)]
    nets = [figures(built(plan), plan) for plan in plans]
    for name in VECTORS:
        assert np.isfinite(rows(nets, name)).all()


def test_the_output_is_the_last_row_whatever_the_number_of_vertices() -> None:
    vector = cell_vector(figures(built(Plan(CHAIN, SMALL)), Plan(CHAIN, SMALL)))
    upper = np.zeros((8, 8))
    upper[np.triu_indices(8, 1)] = vector[:28]
    assert {tuple(pair) for pair in np.argwhere(upper)} == {(0, 1), (1, 7)}


def test_a_foreign_net_has_no_cell_vector() -> None:
    with pytest.raises(SetupError, match="nets of cells alone"):
        cell_vector(figures(shortcut()))
