"""Settings that hold for the whole process."""

_settings: dict[str, bool] = {"cuda_graphs": True}


def config(*, cuda_graphs: bool | None = None) -> dict[str, bool]:
    """Changes the settings that are given and returns all of them.

    cuda_graphs: whether models replay CUDA graphs of calls that come again with the same shapes.
    """
    if cuda_graphs is not None:
        if not isinstance(cuda_graphs, bool):
            raise TypeError(f"config: cuda_graphs must be a bool, got {cuda_graphs!r}")
        _settings["cuda_graphs"] = cuda_graphs
    return dict(_settings)
