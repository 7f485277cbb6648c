"""Weights and moments between files and the model.

`model.safetensors` has Hugging Face's layout. `moments.safetensors` is that of fastdraft-train's
checkpoints: flat, under the parameter paths of its decoder, whose projections are stored `[in, out]`.
"""

import os
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import save_file

MAPS = ("d2t", "t2d")
BESIDE = ("config.json", "generation_config.json")


def read(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def fused_parts(config):
    """Phi-3 stores projections that read the same input as one matrix: name, parts and their heights."""
    q, kv = config["heads"] * config["head_dim"], config["kv_heads"] * config["head_dim"]
    width = config["intermediate_size"]
    return (
        ("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), (q, kv, kv)),
        ("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj"), (width, width)),
    )


def split_fused(tensors, config):
    for layer in range(config["layers"]):
        for name, parts, heights in fused_parts(config):
            at = f"model.layers.{layer}."
            whole = tensors.pop(f"{at}{name}.weight")
            for part, piece in zip(parts, whole.split(heights)):
                tensors[f"{at}{part}.weight"] = piece.contiguous()


def join_fused(tensors, config):
    for layer in range(config["layers"]):
        for name, parts, _ in fused_parts(config):
            at = f"model.layers.{layer}."
            pieces = [tensors.pop(f"{at}{part}.weight") for part in parts]
            tensors[f"{at}{name}.weight"] = torch.cat(pieces).contiguous()


def head_rows(tensors, config):
    """Row of the head for each token, -1 where it has none: `[vocabulary]`."""
    size = config["vocabulary_size"]
    if "d2t" not in tensors:
        return torch.arange(size).numpy()
    ids = tensors["d2t"] + torch.arange(len(tensors["d2t"]))
    if len(ids) != config["head_size"] or int(ids.min()) < 0 or int(ids.max()) >= size:
        raise ValueError("d2t does not fit the head and the vocabulary")
    rows = torch.full((size,), -1, dtype=torch.int64)
    rows[ids] = torch.arange(len(ids))
    if not torch.equal(tensors["t2d"].bool(), rows >= 0):
        raise ValueError("t2d and d2t disagree")
    return rows.numpy()


class Store:
    """The files of a run folder."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        tensors = read(os.path.join(folder, "model", "model.safetensors"))
        self.maps = {name: tensors.pop(name) for name in MAPS if name in tensors}
        self.head_rows = head_rows({**tensors, **self.maps}, config)
        if config["family"] == "phi3":
            split_fused(tensors, config)
        self.tensors = tensors

    def load(self, model):
        model.load_state_dict(self.tensors, strict=True)
        del self.tensors

    def load_moments(self, optimizer, updates):
        """Losses of earlier steps; the optimizer goes on where they end."""
        tensors = read(os.path.join(self.folder, "moments.safetensors"))
        shapes = {name: parameter.shape for name, parameter in optimizer.named}

        def moments(name):
            pair = [tensors.get(part + path_of(name)) for part in ("first.", "second.")]
            if any(value is None for value in pair):
                return None
            return [unflatten(name, value, shapes[name]) for value in pair]

        optimizer.restore(updates, moments)
        return tensors["losses"].tolist()

    def save(self, folder, model, optimizer, losses):
        tensors = {name: on_host(value).contiguous() for name, value in model.state_dict().items()}
        if self.config["family"] == "phi3":
            join_fused(tensors, self.config)
        save_file({**tensors, **self.maps}, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        moments = {"losses": torch.tensor(losses, dtype=torch.float32)}
        for name, first, second in optimizer.moments():
            moments["first." + path_of(name)] = flatten(name, first)
            moments["second." + path_of(name)] = flatten(name, second)
        save_file(moments, os.path.join(folder, "moments.safetensors"))
        for name in BESIDE:
            shutil.copyfile(os.path.join(self.folder, "model", name), os.path.join(folder, name))


def path_of(name):
    """The decoder's path of a parameter: norms call their weight gamma."""
    name = name.removeprefix("model.")
    return name.removesuffix("weight") + "gamma" if "norm" in name else name


def is_projection(name, dims):
    return dims == 2 and "embed_tokens" not in name


def on_host(value):
    return value.detach().to("cpu", torch.float32)


def flatten(name, value):
    value = on_host(value)
    value = value.t() if is_projection(name, value.dim()) else value
    return value.contiguous().flatten()


def unflatten(name, value, shape):
    if is_projection(name, len(shape)):
        return value.reshape(shape[1], shape[0]).t().contiguous()
    return value.reshape(shape)
