"""The draft in PyTorch, under the tensor names of Hugging Face's layout."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from loss import head_loss


class RmsNorm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.epsilon = epsilon

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.epsilon).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        hidden, self.dim = config["hidden_size"], config["head_dim"]
        self.heads, self.kv_heads = config["heads"], config["kv_heads"]
        full = layer in config.get("full_attention_layers", [])
        self.window = None if full else config["sliding_window"]
        q, kv = self.heads * self.dim, self.kv_heads * self.dim
        bias = config["qkv_bias"]
        self.q_proj = nn.Linear(hidden, q, bias)
        self.k_proj = nn.Linear(hidden, kv, bias)
        self.v_proj = nn.Linear(hidden, kv, bias)
        self.o_proj = nn.Linear(q, hidden, config["output_bias"])
        if config["qk_norm"]:
            self.q_norm = RmsNorm(self.dim, config["norm_epsilon"])
            self.k_norm = RmsNorm(self.dim, config["norm_epsilon"])
        else:
            self.q_norm = self.k_norm = nn.Identity()

    def project(self, x, rotation):
        """Rotated queries `[batch, heads, seq, dim]`, and keys and values `[batch, kv_heads, seq, dim]`."""
        batch, seq, _ = x.shape

        def split(x, heads):
            return x.view(batch, seq, heads, self.dim)

        q = rotate(self.q_norm(split(self.q_proj(x), self.heads)).transpose(1, 2), rotation)
        k = rotate(self.k_norm(split(self.k_proj(x), self.kv_heads)).transpose(1, 2), rotation)
        return q, k, split(self.v_proj(x), self.kv_heads).transpose(1, 2)

    def attend(self, q, k, v):
        """What the tokens of whole sequences see: `[batch, seq, heads · dim]`."""
        batch, _, seq, _ = q.shape
        group = self.heads // self.kv_heads
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if self.window is None or self.window >= seq:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            place = torch.arange(seq, device=q.device)
            back = place[:, None] - place[None, :]
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=(back >= 0) & (back < self.window))
        return out.transpose(1, 2).reshape(batch, seq, self.heads * self.dim)

    def forward(self, x, rotation):
        return self.o_proj(self.attend(*self.project(x, rotation)))


def rotate(x, rotation):
    """Turns `[batch, heads, seq, dim]`, pairing element i with i + dim / 2."""
    cos, sin = rotation
    low, high = x.float().chunk(2, -1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1).to(x.dtype)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, width, bias = config["hidden_size"], config["intermediate_size"], config["mlp_bias"]
        self.gate_proj = nn.Linear(hidden, width, bias)
        self.up_proj = nn.Linear(hidden, width, bias)
        self.down_proj = nn.Linear(width, hidden, bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.input_layernorm = RmsNorm(config["hidden_size"], config["norm_epsilon"])
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RmsNorm(config["hidden_size"], config["norm_epsilon"])
        self.mlp = Mlp(config)

    def forward(self, x, rotation):
        x = x + self.self_attn(self.input_layernorm(x), rotation)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocabulary_size"], config["hidden_size"])
        self.layers = nn.ModuleList([Block(config, layer) for layer in range(config["layers"])])
        self.norm = RmsNorm(config["hidden_size"], config["norm_epsilon"])


class Draft(nn.Module):
    """`config` are the fields of fastdraft-model's `DecoderConfig`, `rotary` those of its `Rotary`.

    With `checkpointing`, only the inputs of blocks are kept until the backward pass.
    """

    def __init__(self, config, rotary, seq, checkpointing=False):
        super().__init__()
        self.checkpointing = checkpointing
        self.model = Stack(config)
        if not config["tied"]:
            self.lm_head = nn.Linear(config["hidden_size"], config["head_size"], bias=False)
        self.turn(rotary, seq)

    def turn(self, rotary, seq):
        """Sets the angles of `seq` places."""
        places = torch.arange(seq, dtype=torch.float32)[:, None]
        angles = places * torch.tensor(rotary["frequencies"], dtype=torch.float32)[None, :]
        factor = rotary["attention_factor"]
        self.register_buffer("cos", angles.cos() * factor, persistent=False)
        self.register_buffer("sin", angles.sin() * factor, persistent=False)

    def head(self):
        tied = self.model.embed_tokens.weight
        return self.lm_head.weight if hasattr(self, "lm_head") else tied

    def hidden(self, inputs):
        """The residual stream after the last norm: `[batch, seq]` to `[batch, seq, hidden]`."""
        seq = inputs.shape[1]
        x = self.model.embed_tokens(inputs)
        rotation = self.cos[:seq], self.sin[:seq]
        for layer in self.model.layers:
            if self.checkpointing:
                x = checkpoint(layer, x, rotation, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, rotation)
        return self.model.norm(x)

    def forward(self, inputs, targets):
        """The loss; only trained positions go through the head."""
        return head_loss(self.hidden(inputs).flatten(0, 1)[targets.positions], self.head(), targets)


def to_precision(draft, dtype):
    """Parameters of another type, `None` for none; angles stay float32."""
    if dtype is not None:
        for parameter in draft.parameters():
            parameter.data = parameter.data.to(getattr(torch, dtype))
    return draft
