"""BarkModel: text to speech in four stages (suno-ai/bark 2023; transformers' class of this name).

Text ids → semantic tokens → two codebooks → eight codebooks → audio at 24 kHz.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vivace.models.bark.coarse import BarkCoarseModel
from vivace.models.bark.config import BarkConfig
from vivace.models.bark.fine import BarkFineModel
from vivace.models.bark.generation_config import BarkGenerationConfig
from vivace.models.bark.gpt import BarkPreTrainedModel
from vivace.models.bark.history import Histories
from vivace.models.bark.loading import BarkLoading
from vivace.models.bark.offload import Offload
from vivace.models.bark.sampling import Generators, seeded
from vivace.models.bark.semantic import BarkSemanticModel
from vivace.models.bark.stages import Progress, add_progress, route
from vivace.models.bark.streaming import Streamed, stream_audio
from vivace.models.encodec import EncodecModel

Seed = int | Sequence[int] | None


class BarkModel(BarkLoading, BarkPreTrainedModel):
    """Text to speech: `generate`, `stream` and `generate_long`.

    Attributes: `semantic`, `coarse_acoustics`, `fine_acoustics`, `codec_model` (an `EncodecModel`)
    and `generation_config` (a `BarkGenerationConfig`; `sample_rate` in Hz is there).
    """

    config_class = BarkConfig
    main_input_name: ClassVar[str] = "input_ids"

    def __init__(self, config: BarkConfig) -> None:
        super().__init__(config)
        self.semantic = BarkSemanticModel(config.semantic_config)
        self.coarse_acoustics = BarkCoarseModel(config.coarse_acoustics_config)
        self.fine_acoustics = BarkFineModel(config.fine_acoustics_config)
        self.codec_model = EncodecModel(config.codec_config)
        self.generation_config: Any = BarkGenerationConfig()
        self.offload = Offload()

    @property
    def device(self) -> torch.device:
        """Where it computes: the device of the weights, or the one that they are moved to."""
        return self.offload.device or next(self.parameters()).device

    @classmethod
    def can_generate(cls) -> bool:
        """True, as transformers' class answers."""
        return True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: the stages have forwards of their own, the whole has `generate`."""
        raise NotImplementedError("BarkModel has no forward: use `generate`")

    def enable_cpu_offload(
        self, accelerator_id: int | None = 0, *, device: torch.device | str | None = None
    ) -> None:
        """Keeps the weights on the CPU and moves one stage at a time to the accelerator.

        `device` names it whole ("cuda:1"); otherwise it is torch's accelerator with this index.
        Raises ValueError if there is none.
        """
        self.offload.enable(self, accelerator_id, device)

    def quantize(self, kind: str = "int8") -> "BarkModel":
        """Rounds the weights that every token reads (semantic and coarse) to 8 bits; returns self.

        What `from_pretrained(..., quantize="int8")` does. Raises ValueError for another kind.
        """
        if kind != "int8":
            raise ValueError(f"BarkModel.quantize: kind must be 'int8', got {kind!r}")
        self.semantic.quantize()
        self.coarse_acoustics.quantize()
        return self

    @torch.no_grad()
    def codec_decode(
        self, fine_output: Tensor, output_lengths: Sequence[int] | Tensor | None = None
    ) -> Any:
        """Codes (B, 8, T) -> audio (B, 320·T samples); with lengths (frames) a list of (L,)."""
        if output_lengths is not None:
            lengths = [int(n) for n in output_lengths]
            audio: list[Tensor] = [fine_output.new_empty(0, dtype=self.dtype)] * len(lengths)
            spoken = [i for i, n in enumerate(lengths) if n]
            if spoken:
                codes = fine_output[spoken, :, : max(lengths)]
                rows = self.codec_model.decode_ragged(codes, [lengths[i] for i in spoken])
                for i, row in zip(spoken, rows, strict=True):
                    audio[i] = row.squeeze(0)
            return audio
        if fine_output.shape[-1] == 0:
            return fine_output.new_empty((len(fine_output), 0), dtype=self.dtype)
        return self.codec_model.decode(fine_output[None], return_dict=False)[0].squeeze(1)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        history_prompt: Histories = None,
        return_output_lengths: bool | None = None,
        *,
        seed: Seed = None,
        generator: Generators = None,
        streamer: Any = None,
        return_tokens: bool = False,
        num_return_sequences: int = 1,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> Any:
        """Speech for the ids (B, <= 256) of a `BarkProcessor` -> audio (B, L) at 24 kHz.

        Rows that are shorter than the longest end in zeros. With `return_output_lengths` also a
        list of samples per row, with `return_tokens` also a list of dicts per row that may be the
        `history_prompt` of another call.
        history_prompt: a voice (`BarkProcessor`), or a list of one (or None) per row. seed or
        generator: one for the batch, which draws as transformers does, or a list of one per row,
        which makes each row independent of the others. streamer: its `put(audio)` gets final
        pieces as they come, then `end()` is called; one row only. progress: called with the
        stage's name, what is done and the total. Keywords with the prefix semantic_, coarse_ or
        fine_ go to that stage, others to all: do_sample, temperature, top_k, top_p, min_p,
        attention_mask, min_eos_p, max_new_tokens (the last three: semantic).
        Raises ValueError for bad ids, voices or settings.
        """
        if input_ids is None:
            raise ValueError("BarkModel.generate: input_ids must be given")
        stages = self._stages(kwargs, seed, generator, progress)
        if num_return_sequences != 1:
            input_ids, history_prompt = self._repeated(
                input_ids, history_prompt, num_return_sequences, stages
            )
        if streamer is not None:
            done = stream_audio(self, input_ids, history_prompt, stages)
            pieces = []
            for piece in done:
                streamer.put(piece)
                pieces.append(piece)
            streamer.end()
            empty = torch.zeros(0, dtype=self.dtype, device=self.device)
            audio, tokens = [torch.cat([empty, *pieces])], done.tokens
        else:
            audio, tokens = self._generate(input_ids, history_prompt, stages)
        lengths = [len(row) for row in audio]
        padded = nn.utils.rnn.pad_sequence(audio, batch_first=True)
        result = (padded, lengths) if return_output_lengths else (padded,)
        if return_tokens:
            return (*result, tokens)
        return result if return_output_lengths else padded

    def stream(
        self,
        input_ids: Tensor,
        history_prompt: Histories = None,
        *,
        seed: Seed = None,
        generator: Generators = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> Streamed:
        """As `generate` for one row: an iterator of final pieces of audio (L,).

        The pieces, concatenated, are what `generate` returns for the same seed. Codes are final
        window by window (the fine stage looks 1024 frames ahead), so a text of less than 13.6 s
        without a voice comes in one piece, and with a voice every 6.8 s.
        """
        stages = self._stages(kwargs, seed, generator, progress)
        return stream_audio(self, input_ids, history_prompt, stages)

    def generate_long(self, text: str | Sequence[str], processor: Any, **kwargs: Any) -> Tensor:
        """Speech for a text of any length -> audio (L,): the pieces of `stream_long`, joined."""
        pieces = list(self.stream_long(text, processor, **kwargs))
        return torch.cat(pieces) if pieces else torch.zeros(0, dtype=self.dtype)

    def stream_long(
        self, text: str | Sequence[str], processor: Any, **kwargs: Any
    ) -> Iterator[Tensor]:
        """Speech for a text of any length, sentence by sentence; see `vivace.models.bark.long`."""
        from vivace.models.bark.long import stream_long

        return stream_long(self, text, processor, **kwargs)

    def _stages(
        self,
        kwargs: Mapping[str, Any],
        seed: Seed,
        generator: Generators,
        progress: Progress | None,
    ) -> dict[str, dict[str, Any]]:
        """Each stage's keywords, with its configuration among them."""
        if seed is not None and generator is not None:
            raise ValueError("BarkModel: pass either seed or generator, got both")
        stages = route(kwargs)
        generator = seeded(seed, self.device) if generator is None else generator
        for settings in stages.values():
            settings["generator"] = generator
        add_progress(stages, progress)
        return stages

    def settings(self) -> dict[str, dict[str, Any]]:
        """The configurations that each stage's `generate` wants, by its keywords."""
        config = BarkGenerationConfig.of(self.generation_config)
        semantic: dict[str, Any] = {"semantic_generation_config": config.semantic_config}
        coarse: dict[str, Any] = {
            **semantic,
            "coarse_generation_config": config.coarse_acoustics_config,
        }
        coarse["codebook_size"] = config.codebook_size
        fine = {**coarse, "fine_generation_config": config.fine_acoustics_config}
        return {"semantic": semantic, "coarse": coarse, "fine": fine}

    def _generate(
        self, input_ids: Tensor, history: Histories, stages: dict[str, dict[str, Any]]
    ) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Audio (L,) and tokens of each row."""
        configs = self.settings()
        with self.offload.on(self.semantic):
            semantic = self.semantic.generate(
                input_ids, history_prompt=history, **configs["semantic"], **stages["semantic"]
            )
        with self.offload.on(self.coarse_acoustics):
            coarse, lengths = self.coarse_acoustics.generate(
                semantic,
                history_prompt=history,
                return_output_lengths=True,
                **configs["coarse"],
                **stages["coarse"],
            )
        books = configs["coarse"]["coarse_generation_config"].n_coarse_codebooks
        frames = (lengths // books).tolist()
        with self.offload.on(self.fine_acoustics):
            codes = self.fine_acoustics.generate(
                coarse,
                history_prompt=history,
                output_lengths=frames,
                **configs["fine"],
                **stages["fine"],
            )
        with self.offload.on(self.codec_model):
            audio = self.codec_decode(codes, frames)
        end = configs["semantic"]["semantic_generation_config"].semantic_pad_token
        tokens = [
            {
                "semantic_prompt": row[row != end],
                "coarse_prompt": fine[:books, :count],
                "fine_prompt": fine[:, :count],
            }
            for row, fine, count in zip(semantic, codes, frames, strict=True)
        ]
        return audio, tokens

    @staticmethod
    def _repeated(
        input_ids: Tensor, history: Histories, times: int, stages: dict[str, dict[str, Any]]
    ) -> tuple[Tensor, Histories]:
        """Every row `times` times, in a row."""
        if not isinstance(times, int) or times < 1:
            raise ValueError(f"num_return_sequences must be an integer >= 1, got {times!r}")
        mask = stages["semantic"].get("attention_mask")
        if mask is not None:
            stages["semantic"]["attention_mask"] = mask.repeat_interleave(times, 0)
        if history is not None and not isinstance(history, Mapping):
            history = [each for each in history for _ in range(times)]
        return input_ids.repeat_interleave(times, 0), history
