"""Decoders against forward passes written with NumPy alone, from the tensors in their files."""
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.models.decoder import family_of
from adaptive_dist.models.pretrained import open_pretrained, read_params, save_pretrained

GPT2 = {"model_type": "gpt2", "vocab_size": 23, "n_embd": 16, "n_layer": 2, "n_head": 2,
        "n_positions": 16}
LLAMA = {"model_type": "llama", "vocab_size": 23, "hidden_size": 16, "intermediate_size": 24,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 16}
STRETCHED = {"rope_type": "llama3", "rope_theta": 500., "factor": 4., "low_freq_factor": 1.,
             "high_freq_factor": 4., "original_max_position_embeddings": 32}
MODELS = {
    "gpt2": GPT2, "gpt2 untied": {**GPT2, "tie_word_embeddings": False, "n_inner": 24,
                                  "activation_function": "relu"},
    "llama": LLAMA, "llama tied": {**LLAMA, "tie_word_embeddings": True, "head_dim": 8},
    "llama biased": {**LLAMA, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1},
    "llama stretched": {**LLAMA, "rope_scaling": STRETCHED, "rope_theta": 500.},
    "mistral": {**LLAMA, "model_type": "mistral", "sliding_window": 4},
    "qwen2": {**LLAMA, "model_type": "qwen2"},
    "qwen3": {**LLAMA, "model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 8},
}
TOKENS = np.random.default_rng(0).integers(0, 23, (2, 11))


@pytest.fixture(params=MODELS)
def published(request, tmp_path):
    "A folder with a random model, and the numbers in its file by name."
    values = MODELS[request.param]
    family = family_of(values)
    module = family.module(family.config(values))
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.array(TOKENS))
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32)*.3 + .1, shapes)
    save_pretrained(tmp_path, values, params)
    raw = (tmp_path/"model.safetensors").read_bytes()  # read without a line of the package
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    del header["__metadata__"]
    return tmp_path, values, {
        name: np.frombuffer(raw[8 + size:][slice(*about["data_offsets"])], np.float32)
        .reshape(about["shape"]).astype(np.float64) for name, about in header.items()}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e/e.sum(-1, keepdims=True)


def attend(q, k, v, window):
    "One head of one text: rows are positions."
    logits = q @ k.T/np.sqrt(q.shape[1])
    far = np.arange(len(q))[:, None] - np.arange(len(q))
    logits[(far < 0) | (far >= window)] = -np.inf
    return softmax(logits) @ v


def layer_norm(x, t, name):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred/scale*t[f"{name}.weight"] + t[f"{name}.bias"]


def numpy_gpt2(values, t, tokens):
    x = t["transformer.wte.weight"][tokens] + t["transformer.wpe.weight"][:len(tokens)]
    width, heads = values["n_embd"], values["n_head"]
    for n in range(values["n_layer"]):
        at = f"transformer.h.{n}"
        h = layer_norm(x, t, f"{at}.ln_1") @ t[f"{at}.attn.c_attn.weight"]
        h = h + t[f"{at}.attn.c_attn.bias"]
        q, k, v = (h[:, i*width:(i + 1)*width].reshape(len(h), heads, -1) for i in range(3))
        found = [attend(q[:, i], k[:, i], v[:, i], 99) for i in range(heads)]
        x = x + np.concatenate(found, 1) @ t[f"{at}.attn.c_proj.weight"]
        x = x + t[f"{at}.attn.c_proj.bias"]
        h = layer_norm(x, t, f"{at}.ln_2") @ t[f"{at}.mlp.c_fc.weight"] + t[f"{at}.mlp.c_fc.bias"]
        if values.get("activation_function") == "relu":
            h = np.maximum(h, 0)
        else:
            h = h/2*(1 + np.tanh(np.sqrt(2/np.pi)*(h + .044715*h**3)))
        x = x + h @ t[f"{at}.mlp.c_proj.weight"] + t[f"{at}.mlp.c_proj.bias"]
    head = t.get("lm_head.weight", t["transformer.wte.weight"])
    return layer_norm(x, t, "transformer.ln_f") @ head.T


def rms_norm(x, weight):
    return x/np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)*weight


def rates(values, width):
    "Angles of the pairs of channels per position."
    found = [values.get("rope_theta", 10_000.)**(-2*i/width) for i in range(width//2)]
    about = values.get("rope_scaling")
    if about is None: return np.array(found)
    out = []
    for rate in found:
        wavelength, long = 2*np.pi/rate, about["original_max_position_embeddings"]
        if wavelength > long/about["low_freq_factor"]:
            rate = rate/about["factor"]
        elif wavelength > long/about["high_freq_factor"]:
            kept = (long/wavelength - about["low_freq_factor"])/(
                about["high_freq_factor"] - about["low_freq_factor"])
            rate = (1 - kept)*rate/about["factor"] + kept*rate
        out.append(rate)
    return np.array(out)


def turned(x, values):
    "Rotary positions, as products of complex numbers."
    half = x.shape[1]//2
    z = (x[:, :half] + 1j*x[:, half:])*np.exp(
        1j*np.arange(len(x))[:, None]*rates(values, x.shape[1]))
    return np.concatenate([z.real, z.imag], 1)


def linear(x, t, name):
    return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0.)


def numpy_llama(values, t, tokens):
    heads, shared = values["num_attention_heads"], values["num_key_value_heads"]
    width = values.get("head_dim", values["hidden_size"]//heads)
    x = t["model.embed_tokens.weight"][tokens]
    for n in range(values["num_hidden_layers"]):
        at = f"model.layers.{n}"
        h = rms_norm(x, t[f"{at}.input_layernorm.weight"])
        q, k, v = (linear(h, t, f"{at}.self_attn.{a}_proj").reshape(len(h), -1, width)
                   for a in "qkv")
        if values["model_type"] == "qwen3":
            q, k = (rms_norm(y, t[f"{at}.self_attn.{a}_norm.weight"]) for y, a in ((q, "q"),
                                                                                 (k, "k")))
        found = [attend(turned(q[:, i], values), turned(k[:, i*shared//heads], values),
                        v[:, i*shared//heads], values.get("sliding_window", 99))
                 for i in range(heads)]
        x = x + linear(np.concatenate(found, 1), t, f"{at}.self_attn.o_proj")
        h = rms_norm(x, t[f"{at}.post_attention_layernorm.weight"])
        gate = linear(h, t, f"{at}.mlp.gate_proj")
        x = x + linear(gate/(1 + np.exp(-gate))*linear(h, t, f"{at}.mlp.up_proj"), t,
                       f"{at}.mlp.down_proj")
    head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
    return rms_norm(x, t["model.norm.weight"]) @ head.T


def test_logits_are_those_of_a_forward_pass_in_numpy(published):
    folder, values, tensors = published
    found = open_pretrained(str(folder))
    module = found.module()
    wanted = jax.eval_shape(module.init, jax.random.key(0), jnp.array(TOKENS))
    apply = jax.jit(lambda p, x: module.apply(p, x, method="after"))
    logits = apply(read_params(found, wanted), jnp.array(TOKENS))
    forward = numpy_gpt2 if values["model_type"] == "gpt2" else numpy_llama
    for row, tokens in zip(logits, TOKENS, strict=True):
        np.testing.assert_allclose(row, forward(values, tensors, tokens), atol=1e-4)


def test_tensors_have_published_names(published):
    _, values, tensors = published
    first = {"gpt2": "transformer.h.0.mlp.c_fc.weight",
             "qwen2": "model.layers.0.self_attn.q_proj.bias",
             "qwen3": "model.layers.1.self_attn.k_norm.weight"}
    assert first.get(values["model_type"], "model.layers.0.mlp.gate_proj.weight") in tensors
    assert ("lm_head.weight" in tensors) != values.get("tie_word_embeddings",
                                                       values["model_type"] == "gpt2")
