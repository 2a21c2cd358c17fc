"""Streaming: pieces of audio as soon as nothing can change them any more.

Coarse tokens come window by window, codes are final where no later fine window overwrites them, and
the codec is causal. With the same seed the pieces are what `generate` returns.
"""

from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor

from vivace.models.bark.history import Histories
from vivace.models.bark.sampling import Noise, Sampling, default_generator


class Streamed(Iterator[Tensor]):
    """An iterator of audio (L,); `tokens` holds the tokens of the row when it has ended."""

    def __init__(self, pieces: Generator[Tensor, None, list[dict[str, Tensor]]]) -> None:
        self._pieces = pieces
        self.tokens: list[dict[str, Tensor]] = []

    def __iter__(self) -> "Streamed":
        return self

    @torch.no_grad()
    def __next__(self) -> Tensor:
        try:
            return next(self._pieces)
        except StopIteration as end:
            if end.value is not None:
                self.tokens = end.value
            raise StopIteration from None

    def close(self) -> None:
        """Stops before the end."""
        self._pieces.close()


def stream_audio(
    model: Any, input_ids: Tensor, history: Histories, stages: dict[str, dict[str, Any]]
) -> Streamed:
    """The audio of one row (1, T) of ids. Raises ValueError for more rows."""
    if input_ids.ndim != 2 or input_ids.shape[0] != 1:
        raise ValueError(
            "BarkModel.stream: input_ids must have shape (1, T), one text at a time, got "
            f"{tuple(input_ids.shape)}"
        )
    return Streamed(_pieces(model, input_ids, history, stages))


def _pieces(
    model: Any, input_ids: Tensor, history: Histories, stages: dict[str, dict[str, Any]]
) -> Generator[Tensor, None, list[dict[str, Tensor]]]:
    configs = model.settings()
    with model.offload.on(model.semantic):
        semantic = model.semantic.generate(
            input_ids, history_prompt=history, **configs["semantic"], **stages["semantic"]
        )
    fine_model, codec = model.fine_acoustics, model.codec_model
    plan, _, temperature, progress = fine_model._prepare(
        **_fine_settings(configs), batch=1, kwargs=stages["fine"]
    )
    generators = _Generators(model, stages, configs, semantic, temperature is not None)
    windows = model.coarse_acoustics.windows(
        semantic,
        history_prompt=history,
        **configs["coarse"],
        **{**stages["coarse"], "generator": generators.coarse},
    )
    frames = int(next(windows)[0]) // plan.given
    codes = torch.zeros((1, frames, plan.given), dtype=torch.int64, device=semantic.device)
    row = plan.rows(codes, [frames], history)[0]
    noise = Noise(generators.fine, 1, model.device)
    steps = fine_model.fill([row], plan, noise, temperature) if frames else iter(())
    decoder = codec.streaming_decoder()
    made, sent = 0, 0
    for index in range(plan.windows(row) if frames else 0):
        start, _ = plan.window(row, index)
        # What the window sees of the coarse codes.
        needed = min(frames, start + plan.length - row.history)
        with model.offload.on(model.coarse_acoustics):
            while made < needed:
                window = plan.codes(next(windows))[0]
                row.codes[row.history + made :][: len(window), : plan.given] = window
                made += len(window)
        with model.offload.on(fine_model):
            for book in range(plan.predicted):
                next(steps)
                if progress is not None:
                    total = plan.windows(row) * plan.predicted
                    progress(index * plan.predicted + book + 1, total)
        final = frames
        if index + 1 < plan.windows(row):
            final = min(frames, plan.window(row, index + 1)[1] - row.history)
        if final > sent:
            with model.offload.on(codec):
                piece = row.result()[None, :, sent:final]
                audio = decoder.push(piece)
                if final == frames:
                    audio = torch.cat((audio, decoder.flush()), dim=2)
            sent = final
            if audio.shape[2]:
                yield audio[0, 0]
    generators.finish()
    end = configs["semantic"]["semantic_generation_config"].semantic_pad_token
    done = row.result()
    return [
        {
            "semantic_prompt": semantic[0][semantic[0] != end],
            "coarse_prompt": done[: plan.given],
            "fine_prompt": done,
        }
    ]


def _fine_settings(configs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    fine = configs["fine"]
    return {
        "semantic": fine["semantic_generation_config"],
        "coarse": fine["coarse_generation_config"],
        "fine": fine["fine_generation_config"],
        "codebook_size": fine["codebook_size"],
    }


class _Generators:
    """The fine stage draws after all of the coarse stage's draws; here both are under way at once.

    So it gets a generator of its own, which stands where the coarse stage's will when that is done.
    """

    def __init__(
        self,
        model: Any,
        stages: dict[str, dict[str, Any]],
        configs: dict[str, dict[str, Any]],
        semantic: Tensor,
        fine_draws: bool,
    ) -> None:
        given = stages["coarse"].get("generator")
        if isinstance(given, (list, tuple)):
            given = given[0]
        self._original = default_generator(model.device) if given is None else given
        self.coarse = self.fine = self._original
        config = configs["coarse"]["coarse_generation_config"]
        settings = {k: v for k, v in stages["coarse"].items() if k != "progress"}
        if not fine_draws or not Sampling.of("coarse", config, settings).do_sample:
            return
        self.fine = torch.Generator(model.device)
        self.fine.set_state(self._original.get_state())
        from vivace.models.bark.coarse_plan import CoarsePlan

        wanted = configs["coarse"]
        plan = CoarsePlan(
            wanted["semantic_generation_config"],
            wanted["coarse_generation_config"],
            wanted["codebook_size"],
        )
        ahead = Noise(self.fine, 1, model.device)
        for _ in range(int(plan.lengths(semantic)[0])):
            ahead.draw(model.coarse_acoustics.config.output_vocab_size)

    def finish(self) -> None:
        """Leaves the caller's generator where `generate` would."""
        if self.fine is not self._original:
            self._original.set_state(self.fine.get_state())
