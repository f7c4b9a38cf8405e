"""Decoders, their files and adapters against the reference implementation, where that is installed.

`pip install torch transformers peft` for it; `transformers` has no part in the package itself.
"""
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.models.adapters import Adapted, frozen
from adaptive_dist.models.pretrained import (
    module_shapes,
    open_pretrained,
    outputs_first,
    read_params,
    save_adapters,
    save_pretrained,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SIZES = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, max_position_embeddings=64)
LONG = dict(rope_type="llama3", rope_theta=500_000., factor=8., low_freq_factor=1.,
            high_freq_factor=4., original_max_position_embeddings=16)
WINDOW = dict(num_key_value_heads=2, sliding_window=5)
MODELS = {
    "gpt2": ("GPT2Config", dict(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "gpt2 untied": ("GPT2Config", dict(vocab_size=61, n_embd=32, n_layer=1, n_head=4,
                                       n_positions=64, tie_word_embeddings=False)),
    "grouped": ("LlamaConfig", dict(num_key_value_heads=2)),
    "tied, biased": ("LlamaConfig", dict(num_key_value_heads=1, tie_word_embeddings=True,
                                         head_dim=16, attention_bias=True, mlp_bias=True)),
    "stretched": ("LlamaConfig", dict(rope_parameters=LONG)),
    "linear": ("LlamaConfig", dict(rope_parameters=dict(rope_type="linear", factor=4.,
                                                        rope_theta=10_000.))),
    "mistral": ("MistralConfig", WINDOW),
    "qwen2": ("Qwen2Config", dict(**WINDOW, use_sliding_window=True, max_window_layers=1)),
    "qwen3": ("Qwen3Config", dict(num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)),
}
TOKENS = np.random.default_rng(0).integers(0, 61, (2, 24))


@pytest.fixture(params=MODELS)
def reference(request, tmp_path):
    "A random model of the reference, and the folder that it was saved to."
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    kind, changes = MODELS[request.param]
    sizes = {} if kind == "GPT2Config" else SIZES
    config = getattr(transformers, kind)(**sizes, **changes, attn_implementation="eager")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights)*.1)
    model.save_pretrained(tmp_path/"theirs")
    return model, tmp_path


def their_logits(model):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def loaded(folder: Path):
    "A model of ours from a folder, and its parameters."
    found = open_pretrained(str(folder))
    module = found.module()
    return found, module, read_params(found, jax.eval_shape(module.init, jax.random.key(0), TOKENS))


def test_logits_are_those_of_the_reference(reference):
    model, place = reference
    _, module, params = loaded(place/"theirs")
    ours = module.apply(params, jnp.array(TOKENS), method="after")
    np.testing.assert_allclose(ours, their_logits(model), atol=1e-4)


def test_the_reference_takes_up_what_is_written_here(reference):
    transformers = pytest.importorskip("transformers")
    _, place = reference
    found, module, params = loaded(place/"theirs")
    params = jax.tree.map(lambda x: x + .01, params)
    save_pretrained(place/"ours", found.values, params)
    model = transformers.AutoModelForCausalLM.from_pretrained(place/"ours").eval()
    ours = module.apply(params, jnp.array(TOKENS), method="after")
    np.testing.assert_allclose(ours, their_logits(model), atol=1e-4)


def test_peft_takes_up_adapters(reference):
    peft = pytest.importorskip("peft")
    model, place = reference
    found, module, base = loaded(place/"theirs")
    adapted = Adapted(module, rank=3, alpha=6.)
    fresh = adapted.adapters(jax.random.key(0), base, TOKENS)
    fresh = jax.tree.map(lambda x: x + .05, fresh)
    params = {"base": frozen(base), "adapters": fresh}
    save_adapters(place/"adapters", adapted, params, found.family, str(place/"theirs"))
    ours = adapted.apply(params, jnp.array(TOKENS), method="after")
    plain = their_logits(model)
    theirs = their_logits(peft.PeftModel.from_pretrained(model, place/"adapters").eval())
    assert np.abs(theirs - plain).max() > .05
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_every_parameter_has_the_shape_of_its_tensor(reference):
    _, place = reference
    found = open_pretrained(str(place/"theirs"))
    shapes = module_shapes(found.module())
    for path, tensor in found.tensors.items():
        turned = outputs_first(path, found.family)
        assert tensor.shape == shapes[path].shape[::-1 if turned else 1]
