"""DacFile.encode and .decode: full pass, lengths, rates, stereo, loudness, descript's chunks."""

import math

import pyloudnorm
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DacConfig as HfConfig
from transformers import DacModel as HfModel

from vivace import DacConfig, DacFile, DacModel, audio
from vivace.loudness import SILENCE_DB, integrated_loudness

RATE = 8000
GEOMETRIES = {"16k": [2, 4, 5, 8], "44k": [2, 4, 8, 8], "odd": [3, 2]}
SIZES = {"encoder_hidden_size": 2, "decoder_hidden_size": 16, "n_codebooks": 3, "codebook_dim": 4}


@torch.no_grad()
def randomised(model: DacModel) -> DacModel:
    """Random weights, Snakes included, that keep activations of order 1 and codes varied.

    In float64, so that rounding cannot hide what a comparison looks for.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.uniform_(0.3, 2.0)
        elif parameter.ndim > 1:
            branch = 0.3 if "res_unit" in name else 1.0
            parameter.normal_(std=branch / math.sqrt(parameter[0].numel()))
        else:
            parameter.normal_(std=0.01)
    return model.double().eval()


@pytest.fixture(params=GEOMETRIES)
def model(request: pytest.FixtureRequest) -> DacModel:
    ratios = GEOMETRIES[request.param]
    config = DacConfig(sampling_rate=RATE, downsampling_ratios=ratios, **SIZES)
    return randomised(DacModel(config))


def noise(seconds: float, channels: int = 1) -> Tensor:
    """(channels, samples) at RATE, each channel louder than the one before."""
    clip = torch.randn(channels, round(seconds * RATE))
    return 0.1 * clip * torch.arange(1, channels + 1)[:, None]


def test_codes_are_those_of_the_full_pass(model: DacModel) -> None:
    clip = noise(0.35, 2)[:, :-5]
    file = DacFile.encode(model, clip, RATE)
    assert len(file.codes.unique()) > 10
    hop = model.config.hop_length
    padded = F.pad(clip, (0, -clip.shape[1] % hop))
    assert torch.equal(file.codes, model.encode(padded[:, None].double()).audio_codes)
    assert file.codes.shape == (2, 3, math.ceil(clip.shape[1] / hop))
    assert (file.channels, file.original_length, file.sample_rate) == (2, clip.shape[1], RATE)
    assert (file.padding, file.chunk_length) == (True, file.codes.shape[2])
    chunked = DacFile.encode(model, clip, RATE, chunk_length_s=0.1)
    assert torch.equal(chunked.codes, file.codes)
    fewer = DacFile.encode(model, clip[0], RATE, n_quantizers=2)
    assert torch.equal(fewer.codes, file.codes[:1, :2])


@pytest.mark.parametrize("samples", [1, 7, 4001])
def test_the_original_length_comes_back(model: DacModel, samples: int) -> None:
    clip = 0.1 * torch.randn(2, samples)
    for rate in (RATE, 22050):
        file = DacFile.encode(model, clip, rate)
        decoded, found = file.decode(model)
        assert found == rate
        assert decoded.shape == clip.shape
        assert decoded.dtype == torch.float32
    resampled = audio.resample(clip, 22050, RATE)
    assert torch.equal(file.codes, DacFile.encode(model, resampled, RATE).codes)


def test_decoding_is_the_models_decoding(model: DacModel) -> None:
    file = DacFile.encode(model, noise(0.3), RATE)
    decoded, _ = file.decode(model, restore_loudness=False)
    whole = model.decode(audio_codes=file.codes).audio_values[:, : decoded.shape[1]].detach()
    assert torch.equal(decoded[:, : whole.shape[1]], whole.float())
    assert not decoded[:, whole.shape[1] :].any()
    chunked, _ = file.decode(model, restore_loudness=False, chunk_length_s=0.1)
    assert torch.allclose(chunked, decoded, atol=1e-6)


def test_loudness_is_restored_by_one_gain(model: DacModel) -> None:
    clip = noise(1.0, 2)
    file = DacFile.encode(model, clip, RATE)
    expected = pyloudnorm.Meter(RATE).integrated_loudness(clip.double().numpy().T)
    assert file.input_db.tolist() == pytest.approx([expected], abs=1e-4)
    file.input_db -= 12
    decoded, _ = file.decode(model)
    raw, _ = file.decode(model, restore_loudness=False)
    gain = decoded[0].norm() / raw[0].norm()
    assert not math.isclose(gain, 1, rel_tol=0.1)
    assert torch.allclose(decoded, raw * gain, atol=1e-6)
    assert integrated_loudness(decoded, RATE) == pytest.approx(expected - 12, abs=0.2)


def test_restoring_never_amplifies_past_full_scale(model: DacModel) -> None:
    file = DacFile.encode(model, noise(0.3), RATE)
    file.input_db += 200
    decoded, _ = file.decode(model)
    assert decoded.abs().max() == pytest.approx(1.0, abs=1e-3)


def test_silence_stays_as_it_is(model: DacModel) -> None:
    clip = torch.zeros(1, RATE)
    file = DacFile.encode(model, clip, RATE, normalize_db=-16)
    assert file.input_db.tolist() == [SILENCE_DB]
    assert torch.equal(file.codes, DacFile.encode(model, clip, RATE).codes)
    decoded, _ = file.decode(model)
    raw, _ = file.decode(model, restore_loudness=False)
    assert torch.equal(decoded, raw)


def test_normalising_before_coding(model: DacModel) -> None:
    clip = noise(1.0, 2)
    loudness = integrated_loudness(clip, RATE)
    file = DacFile.encode(model, clip, RATE, normalize_db=loudness - 6)
    assert file.input_db.tolist() == pytest.approx([loudness])
    quieter = DacFile.encode(model, clip * 10 ** (-6 / 20), RATE)
    assert (file.codes == quieter.codes).double().mean() > 0.99
    loud = DacFile.encode(model, clip, RATE, normalize_db=50.0)
    full_scale = DacFile.encode(model, clip / clip.abs().max(), RATE)
    assert (loud.codes == full_scale.codes).double().mean() > 0.99


def test_several_clips_in_one_file(model: DacModel) -> None:
    clips = [noise(0.3, 2), noise(0.3, 2) * 0.1]
    files = [DacFile.encode(model, clip, RATE) for clip in clips]
    both = DacFile(
        torch.cat([f.codes for f in files]),
        files[0].chunk_length,
        clips[0].shape[1],
        torch.cat([f.input_db for f in files]),
        2,
        RATE,
        True,
    )
    decoded, _ = both.decode(model)
    assert decoded.shape == (2, 2, clips[0].shape[1])
    for row, file in zip(decoded, files, strict=True):
        assert torch.allclose(row, file.decode(model)[0], atol=1e-6)


def unpadded_length(modules: nn.Module, length: int) -> int:
    """descript's get_output_length: through every convolution without padding."""
    for m in modules.modules():
        if isinstance(m, nn.ConvTranspose1d):
            length = (length - 1) * m.stride[0] + m.kernel_size[0]
        elif isinstance(m, nn.Conv1d):
            span = m.dilation[0] * (m.kernel_size[0] - 1) + 1
            length = (length - span) // m.stride[0] + 1
    return length


@torch.no_grad()
def compress_in_chunks(hf: HfModel, clip: Tensor, window: int) -> tuple[Tensor, int, Tensor]:
    """descript's chunked layout by transformers -> codes, chunk_length, audio decoded its way."""
    for module in hf.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            module.padding = (0,)
    advance = unpadded_length(hf.decoder, unpadded_length(hf.encoder, window))
    delay = (window - advance) // 2
    padded = F.pad(clip, (delay, delay))
    codes, decoded = [], []
    for start in range(0, clip.shape[1], advance):
        piece = padded[:, start : start + window]
        piece = F.pad(piece, (0, window - piece.shape[1]))
        codes.append(hf.encode(piece[:, None]).audio_codes)
        decoded.append(hf.decode(audio_codes=codes[-1]).audio_values)
        assert decoded[-1].shape[1] == advance
    return torch.cat(codes, -1), codes[0].shape[-1], torch.cat(decoded, -1)


def test_descripts_overlapping_chunks_are_decoded(model: DacModel) -> None:
    hf = HfModel(HfConfig(**{k: v for k, v in model.config.to_dict().items() if k != "dtype"}))
    hf = hf.double().eval()
    hf.load_state_dict(model.state_dict())
    clip = noise(1.3, 2)
    window = {320: 14400, 512: 20480, 6: 3000}[model.config.hop_length]
    codes, chunk_length, expected = compress_in_chunks(hf, clip.double(), window)
    assert codes.shape[-1] > 2 * chunk_length
    file = DacFile(codes, chunk_length, clip.shape[1], -20.0, 2, RATE, False)
    before = [m.padding for m in model.modules() if isinstance(m, nn.Conv1d)]
    decoded, _ = file.decode(model, restore_loudness=False)
    assert decoded.shape == clip.shape
    assert torch.allclose(decoded, expected[:, : clip.shape[1]].float(), atol=1e-6)
    assert decoded.std() > 0.01
    assert before == [m.padding for m in model.modules() if isinstance(m, nn.Conv1d)]


def test_descripts_window_of_one_second() -> None:
    """The numbers of descript 1.0.0 for its default window, as the released models have them."""
    for name, numbers in (("44k", (44544, 72, 28522)), ("16k", (16000, 34, 5346))):
        model = DacModel(DacConfig(downsampling_ratios=GEOMETRIES[name], **SIZES))
        frames = unpadded_length(model.encoder, numbers[0])
        assert (frames, unpadded_length(model.decoder, frames)) == numbers[1:]


def test_what_does_not_fit(model: DacModel) -> None:
    clip = noise(0.3)
    with pytest.raises(ValueError, match="eval mode"):
        DacFile.encode(model.train(), clip, RATE)
    model.eval()
    for bad, match in ((clip[None], "shape"), (clip * math.nan, "finite"), (clip[:, :0], "empty")):
        with pytest.raises(ValueError, match=f"DacFile.encode: audio .*{match}"):
            DacFile.encode(model, bad, RATE)
    with pytest.raises(ValueError, match="positive"):
        DacFile.encode(model, clip, 0)

    def file(codes: Tensor, length: int = 100, chunk: int = 50, padding: bool = True) -> DacFile:
        return DacFile(codes, chunk, length, -20.0, 1, RATE, padding)

    codes = torch.zeros(1, 3, 50, dtype=torch.long)
    for broken, match in (
        (file(codes.repeat(1, 2, 1)), "3 codebooks, the file 6"),
        (file(codes + 1024), "below 1024, got 1024"),
        (file(codes, length=10**12), "cannot hold 1000000000000"),
        (file(codes, chunk=2, padding=False), "chunks of 2 frames are too short"),
    ):
        with pytest.raises(ValueError, match=f"DacFile.decode: .*{match}"):
            broken.decode(model)
    encoder_only = DacModel(model.config, part="encoder").eval()
    with pytest.raises(ValueError, match="decoder"):
        file(codes).decode(encoder_only)
