"""CUDA graphs: replayed only where they may be, and captured again when a weight has changed."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import vivace
from vivace.generation.graph import Graphs


def test_without_a_gpu_the_function_is_called() -> None:
    calls: list[int] = []

    def function(x: Tensor) -> Tensor:
        calls.append(1)
        return x + 1

    graphs = Graphs(nn.Linear(2, 2))
    for _ in range(3):
        assert torch.equal(graphs.call("f", function, torch.zeros(2)), torch.ones(2))
    assert len(calls) == 3
    assert len(graphs) == 0


def test_weights_are_watched() -> None:
    """Every way in which a weight changes changes the state that a graph was captured for."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    graphs = Graphs(module)
    states = [graphs._weights()]
    assert graphs._weights() == states[0]

    def changed() -> None:
        states.append(graphs._weights())
        assert len(set(states)) == len(states)

    with torch.no_grad():
        module[0].weight.mul_(2)
    changed()
    module.double()
    changed()
    module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()})
    changed()
    module[1][0] = nn.Linear(2, 2)
    changed()
    nn.utils.parametrizations.weight_norm(module[0])
    changed()


def test_a_copy_of_a_model_has_graphs_of_its_own() -> None:
    module = nn.Linear(2, 2)
    module.graphs = Graphs(module)
    other = copy.deepcopy(module)
    assert other.graphs is not module.graphs
    assert other.graphs._module is other
    again = pickle.loads(pickle.dumps(module))
    assert again.graphs._module is again


def test_config() -> None:
    assert vivace.config() == {"cuda_graphs": True}
    try:
        assert vivace.config(cuda_graphs=False) == {"cuda_graphs": False}
    finally:
        vivace.config(cuda_graphs=True)
    with pytest.raises(TypeError, match="cuda_graphs must be a bool, got 1"):
        vivace.config(cuda_graphs=1)  # type: ignore[arg-type]


def test_replays_equal_calls(cuda: str) -> None:
    module = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)).to(cuda)
    graphs = Graphs(module, limit=2)
    with torch.no_grad():
        for size in (3, 3, 3, 5, 5, 5, 3):
            x = torch.randn(size, 64, device=cuda)
            torch.testing.assert_close(graphs.call("f", module, x), module(x))
        assert len(graphs) == 2
        module[0].weight.mul_(3)
        x = torch.randn(3, 64, device=cuda)
        torch.testing.assert_close(graphs.call("f", module, x), module(x))
        for size in (7, 9, 11):
            graphs.call("f", module, torch.randn(size, 64, device=cuda))
        assert len(graphs) <= 2


def test_earlier_results_survive_later_replays(cuda: str) -> None:
    module = nn.Linear(16, 16).to(cuda)
    graphs = Graphs(module)
    with torch.no_grad():
        inputs = [torch.randn(4, 16, device=cuda) for _ in range(5)]
        results = [graphs.call("f", module, x) for x in inputs]
        for x, y in zip(inputs, results, strict=True):
            torch.testing.assert_close(y, module(x))


def test_gradients_are_not_captured(cuda: str) -> None:
    module = nn.Linear(16, 16).to(cuda)
    graphs = Graphs(module)
    for _ in range(3):
        assert graphs.call("f", module, torch.randn(4, 16, device=cuda)).requires_grad
    assert len(graphs) == 0


@pytest.mark.parametrize("streams", [2])
def test_two_streams_share_the_pool(cuda: str, streams: int) -> None:
    module = nn.Linear(256, 256).to(cuda)
    graphs = Graphs(module)
    side = [torch.cuda.Stream() for _ in range(streams)]
    with torch.no_grad():
        for i in range(20):
            with torch.cuda.stream(side[i % streams]):
                x = torch.randn(64, 256, device=cuda)
                y = graphs.call("f", module, x)
                torch.testing.assert_close(y, module(x))
