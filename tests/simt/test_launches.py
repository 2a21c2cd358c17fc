"""How many kernels the 44 kHz decoder launches: the emulator counts them, a GPU pays for each."""

import os

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import vivace
from vivace import BarkSemanticConfig, BarkSemanticModel, DacConfig, DacModel, _dispatch
from vivace.models.dac.quantizer import DacResidualVectorQuantizer

# All that torch may do on the way without launching anything.
_NO_LAUNCH = {
    *("aten::empty", "aten::empty_strided", "aten::as_strided", "aten::transpose", "aten::view"),
    *("aten::alias", "aten::squeeze", "aten::to", "aten::_to_copy"),  # the copy inside counts
}


@pytest.mark.parametrize(
    ("dtype", "kernels", "others"),
    [
        # conv1d, 4 x conv_transpose1d, 12 residual units, of which the first 3 are two
        # convolutions, conv1d, and rvq_decode, whose sum is converted.
        pytest.param(torch.float16, 22, {"aten::copy_": 1}, id="f16"),
        pytest.param(torch.float32, 23, {}, id="f32"),  # a fourth unit is too large
    ],
)
@torch.no_grad()
def test_decode_of_the_44_khz_geometry(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, kernels: int, others: dict[str, int]
) -> None:
    module = _dispatch.load("simt")
    if module is None:
        assert not os.environ.get("CI"), "vivace._simt is not built"
        pytest.skip("vivace._simt is not built")
    # On a GPU this would wait for the codes, so it is done for codes in host memory alone.
    monkeypatch.setattr(DacResidualVectorQuantizer, "_check_ids", lambda *_: None)
    config = DacConfig(downsampling_ratios=(2, 4, 8, 8), sampling_rate=44100)
    assert (config.hop_length, config.decoder_hidden_size, config.n_codebooks) == (512, 1536, 9)
    with torch.device("meta"):  # drawing 50 million weights would take longer than the test
        model = DacModel(config, part="decoder")
    model = model.to_empty(device="cpu").to(dtype).eval()
    for parameter in model.parameters():
        parameter.fill_(0.01)
    codes = torch.randint(config.codebook_size, (1, config.n_codebooks, 1))
    with vivace.backend("simt"):
        model.decode(audio_codes=codes)  # packs the weights
        before = module.launches()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            model.decode(audio_codes=codes)
        assert module.launches() - before == kernels
    assert {e.key: e.count for e in seen.key_averages() if e.key not in _NO_LAUNCH} == others


@torch.no_grad()
def test_decode_step_of_a_gpt() -> None:
    """Five launches per layer and one for the head, whatever the length of the cache."""
    module = _dispatch.load("simt")
    if module is None:
        assert not os.environ.get("CI"), "vivace._simt is not built"
        pytest.skip("vivace._simt is not built")
    config = BarkSemanticConfig(
        num_layers=3, num_heads=2, hidden_size=32, bias=False, input_vocab_size=64
    )
    model = BarkSemanticModel(config).eval()
    cache = model.new_cache(1)
    weights = model.decode_weights()
    with vivace.backend("simt"):
        before = module.launches()
        model.decode(weights, torch.tensor([5]), cache, 0, 48, cache.capacity - 1)
        assert module.launches() - before == 5 * 3 + 1
