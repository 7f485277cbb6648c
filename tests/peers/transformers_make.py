#!/usr/bin/env python3
"""Tiny random models of every family as transformers saves them, with the logits it computes.

    python transformers_make.py OUT [NAME...]

Each folder of OUT is a model and has `expected.safetensors`: `input_ids` [2, seq], `logits` [2, seq, vocabulary] in
float32, and, where a cache does not change the result by design, `greedy_ids` [2, 12]. A variant of the rotary
settings or of the window is made only if the same weights without it give other logits.
"""
import copy
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

NEW = 12
TINY = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.1, bos_token_id=1, eos_token_id=2,
            pad_token_id=0)


def rope(kind, theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


def legacy(config):
    """The spelling of transformers 4."""
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    partial = parameters.pop("partial_rotary_factor", None)
    if partial is not None:
        config["partial_rotary_factor"] = partial
    kind = parameters.pop("rope_type")
    parameters = {key: value for key, value in parameters.items() if value is not None}
    config["rope_scaling"] = None if kind == "default" else dict(type=kind, **parameters)
    config["torch_dtype"] = config.pop("dtype", "float32")


def without(*names):
    def edit(config):
        for name in names:
            config.pop(name)
    return edit


def put(**values):
    return lambda config: config.update(values)


def su(config):
    legacy(config)
    config["rope_scaling"]["type"] = "su"


def longrope(pairs, **more):
    short = [1.0 + 0.05 * i for i in range(pairs)]
    long = [1.5 + 0.4 * i for i in range(pairs)]
    return rope("longrope", short_factor=short, long_factor=long, **more)


LLAMA3 = rope("llama3", 8000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
# Beyond any context that llama.cpp can be asked for, of which the least is 256.
WITHIN = dict(longrope(8), original_max_position_embeddings=300, max_position_embeddings=1024)

# name: (configuration arguments, {seq, greedy, dtype, shards, edit of config.json})
VARIANTS = {
    "llama": {
        "plain": ({}, {}),
        "one-kv-head-tied": (dict(num_key_value_heads=1, tie_word_embeddings=True), {}),
        "every-head": (dict(num_key_value_heads=None), dict(edit=without("num_key_value_heads"))),
        "biases": (dict(attention_bias=True, mlp_bias=True), {}),
        "head-dim": (dict(head_dim=24), {}),
        "sharded": ({}, dict(shards="60KB")),
        "bf16": ({}, dict(dtype=torch.bfloat16)),
        "f16": ({}, dict(dtype=torch.float16)),
        "older-spelling": (rope("default", 500000.0), dict(edit=legacy)),
        "swish": (dict(hidden_act="swish"), {}),
        "linear": (rope("linear", factor=4.0), {}),
        "linear-older": (rope("linear", factor=2.5), dict(edit=legacy)),
        "llama3": (LLAMA3, dict(seq=100)),
        "llama3-older": (LLAMA3, dict(edit=legacy, seq=100)),
        "dynamic": (rope("dynamic", factor=2.0), dict(inert=True)),
        "dynamic-beyond": (dict(rope("dynamic", factor=2.0), max_position_embeddings=16), dict(seq=48, greedy=False)),
        "yarn": (rope("yarn", factor=4.0, original_max_position_embeddings=32), dict(seq=100)),
        "yarn-older": (rope("yarn", factor=4.0, original_max_position_embeddings=32), dict(edit=legacy, seq=100)),
        "yarn-settings": (rope("yarn", 5000.0, factor=8.0, original_max_position_embeddings=16, beta_fast=16.0,
                               beta_slow=0.5, attention_factor=0.9), dict(seq=100)),
        "yarn-betas": (rope("yarn", factor=2.0, original_max_position_embeddings=64, beta_fast=2.0, beta_slow=0.2),
                       dict(seq=100)),
        "yarn-attention": (rope("yarn", factor=4.0, original_max_position_embeddings=32, attention_factor=0.9),
                           dict(seq=100)),
        "yarn-mscale": (rope("yarn", factor=4.0, original_max_position_embeddings=32, mscale=1.3, mscale_all_dim=0.7,
                             truncate=False), dict(seq=100)),
        "longrope": (dict(longrope(8, original_max_position_embeddings=300, factor=3.0), max_position_embeddings=1024), {}),
        "no-defaults": (dict(rms_norm_eps=1e-6, max_position_embeddings=2048),
                        dict(edit=without("rms_norm_eps", "max_position_embeddings", "hidden_act", "head_dim",
                                          "tie_word_embeddings", "attention_bias", "mlp_bias", "rope_parameters"))),
    },
    "mistral": {
        "window": (dict(sliding_window=8), dict(seq=40)),
        "no-window": (dict(sliding_window=None), dict(seq=40)),
        "head-dim": (dict(head_dim=24, sliding_window=None), {}),
        "tied": (dict(tie_word_embeddings=True, sliding_window=16), {}),
        "yarn": (dict(rope("yarn", factor=4.0, original_max_position_embeddings=32), sliding_window=None), dict(seq=60)),
        "older-spelling": (dict(rope("default", 1e6), sliding_window=8), dict(edit=legacy, seq=40)),
        "no-defaults": (dict(num_attention_heads=8, num_key_value_heads=8, sliding_window=4096),
                        dict(edit=without("num_key_value_heads", "sliding_window", "rms_norm_eps"), inert=True)),
        "layer-types": (dict(sliding_window=8), dict(edit=put(layer_types=["sliding_attention"] * 3), seq=40)),
        "layer-types-full": (dict(sliding_window=8),
                             dict(edit=put(layer_types=["full_attention"] * 3), seq=40, inert=True)),
    },
    "qwen2": {
        "tied": (dict(rope("default", 1e6), tie_word_embeddings=True), {}),
        "untied": ({}, {}),
        "unused-window": (dict(use_sliding_window=False, sliding_window=8, max_window_layers=2), dict(seq=40)),
        "window": (dict(use_sliding_window=True, sliding_window=8, max_window_layers=0), dict(seq=40)),
        "mixed-window": (dict(use_sliding_window=True, sliding_window=8, max_window_layers=1), dict(seq=40)),
        "window-above": (dict(use_sliding_window=True, sliding_window=8, max_window_layers=28), dict(seq=40, inert=True)),
        "yarn": (rope("yarn", factor=4.0, original_max_position_embeddings=32), dict(seq=100)),
        "older-spelling": (rope("default", 1e6), dict(edit=legacy)),
        "bf16-sharded": ({}, dict(dtype=torch.bfloat16, shards="40KB")),
    },
    "qwen3": {
        "plain": (dict(head_dim=16), {}),
        "head-dim-tied": (dict(head_dim=32, tie_word_embeddings=True), {}),
        "default-head-dim": (dict(head_dim=128), dict(edit=without("head_dim"))),
        "bias": (dict(head_dim=16, attention_bias=True), {}),
        "window": (dict(head_dim=16, use_sliding_window=True, sliding_window=8, max_window_layers=0), dict(seq=40)),
        "layer-types": (dict(head_dim=16, use_sliding_window=True, sliding_window=8,
                             layer_types=["sliding_attention", "full_attention", "sliding_attention"]), dict(seq=40)),
        "yarn": (dict(rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=32), head_dim=16), dict(seq=100)),
        "older-spelling": (dict(rope("default", 1e6), head_dim=16), dict(edit=legacy)),
        "sharded": (dict(head_dim=16), dict(shards="60KB")),
    },
    "phi3": {
        "plain": (dict(num_key_value_heads=4), {}),
        "grouped-tied": (dict(tie_word_embeddings=True), {}),
        "window": (dict(sliding_window=8), dict(seq=40)),
        "longrope-within": (dict(WITHIN), {}),
        "longrope-beyond": (dict(longrope(8), original_max_position_embeddings=16), dict(seq=40)),
        "longrope-older": (dict(longrope(8), original_max_position_embeddings=16), dict(seq=40, edit=legacy)),
        "longrope-su": (dict(WITHIN), dict(edit=su)),
        "partial": (rope("default", partial_rotary_factor=0.5), {}),
        "partial-older": (rope("default", partial_rotary_factor=0.75), dict(edit=legacy)),
        "partial-longrope": (dict(longrope(6, partial_rotary_factor=0.75), original_max_position_embeddings=16,
                                  tie_word_embeddings=True), dict(seq=40)),
        "head-dim": (dict(head_dim=24), {}),
        "bf16": ({}, dict(dtype=torch.bfloat16)),
        "sharded": ({}, dict(shards="60KB")),
    },
}
CLASSES = dict(llama="Llama", mistral="Mistral", qwen2="Qwen2", qwen3="Qwen3", phi3="Phi3")


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("norm.weight"):
                # Both signs, or a tied head repeats its input for ever.
                tensor.copy_(noise if name == "model.norm.weight" else 1 + 0.2 * noise)
            else:
                tensor.copy_((0.2 if name.endswith("bias") else 0.1) * noise)


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def greedy(model, ids):
    """Tokens of highest logit, and the smallest lead of one over the next."""
    start, gap = ids.shape[1], 1e9
    for _ in range(NEW):
        best = model(input_ids=ids, use_cache=False).logits[:, -1].topk(2)
        gap = min(gap, (best.values[:, 0] - best.values[:, 1]).min().item())
        ids = torch.cat([ids, best.indices[:, :1]], 1)
    return ids[:, start:], gap


def same_without(model, ids, logits):
    """Whether neither rotary settings nor window have an effect, where there are any."""
    config = copy.deepcopy(model.config)
    rotary, window = config.rope_parameters, getattr(config, "sliding_window", None)
    if (rotary["rope_type"], rotary.get("partial_rotary_factor", 1.0), window) == ("default", 1.0, None):
        return False
    config.rope_parameters = dict(rope_type="default", rope_theta=rotary["rope_theta"])
    config.rope_parameters["partial_rotary_factor"] = 1.0
    if window is not None:
        config.sliding_window = 1_000_000
    plain = type(model)(config).eval()
    plain.load_state_dict(model.state_dict())
    return (plain(input_ids=ids, use_cache=False).logits - logits).abs().max().item() < 1e-2


def make(folder, family, arguments, options):
    cls = CLASSES[family]
    config = getattr(transformers, cls + "Config")(**{**TINY, **copy.deepcopy(arguments)})
    model = getattr(transformers, cls + "ForCausalLM")(config).eval()
    for seed in range(100, 140):
        randomise(model, seed)
        saved = copy.deepcopy(model).to(options.get("dtype", torch.float32))
        saved.save_pretrained(folder, max_shard_size=options.get("shards", "1GB"))
        if "edit" in options:
            path = folder / "config.json"
            document = json.loads(path.read_text())
            options["edit"](document)
            path.write_text(json.dumps(document, indent=2))
        reference = load(folder)
        generator = torch.Generator().manual_seed(seed + 1)
        ids = torch.randint(3, TINY["vocab_size"], (2, options.get("seq", 24)), generator=generator)
        with torch.no_grad():
            expected = dict(input_ids=ids, logits=reference(input_ids=ids, use_cache=False).logits)
            if options.get("greedy", True):
                expected["greedy_ids"], gap = greedy(reference, ids)
                if gap < 1e-2 or config.eos_token_id in expected["greedy_ids"]:
                    continue
            if not options.get("inert") and same_without(reference, ids, expected["logits"]):
                raise SystemExit(f"{folder}: its settings change nothing")
        save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
        return
    raise SystemExit(f"{folder}: no seed without a near tie or an end token")


def main():
    out, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for family, variants in VARIANTS.items():
        for name, (arguments, options) in variants.items():
            full = f"{family}.{name}"
            if names and full not in names:
                continue
            make(out / full, family, arguments, options)
    print("made with transformers", transformers.__version__, "and torch", torch.__version__)


if __name__ == "__main__":
    main()
