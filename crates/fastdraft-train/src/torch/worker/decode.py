"""Decoding with keys and values kept: many sequences, one token of each a pass."""

import torch
import torch.nn.functional as F

# Tokens of a prefill pass, padding included.
PREFILL = 1 << 15
# Keys are seen in multiples of this many; kernels want masks of whole words.
SPAN = 64


def spanned(keys):
    """That many keys, rounded up."""
    return -(-keys // SPAN) * SPAN


class Decoding:
    """Keys and values of a batch, `[rows, kv_heads, capacity, dim]` a layer."""

    def __init__(self, draft, rows, capacity):
        self.draft, self.capacity = draft, spanned(capacity)
        # Logits are float32 whatever the products before them.
        self.head = draft.head().float()
        weight = draft.model.embed_tokens.weight
        attention = draft.model.layers[0].self_attn
        shape = (rows, attention.kv_heads, self.capacity, attention.dim)
        kept = {"dtype": weight.dtype, "device": weight.device}
        self.cache = [(torch.zeros(shape, **kept), torch.zeros(shape, **kept)) for _ in draft.model.layers]

    def prefill(self, rows, prompts):
        """Logits after each prompt, `[prompts, vocabulary]`; a prompt takes the row at its place in `rows`."""
        device, logits, first = self.head.device, [], 0
        while first < len(prompts):
            end, width = first, 0
            while end < len(prompts):
                wider = max(width, len(prompts[end]))
                if end > first and wider * (end + 1 - first) > PREFILL:
                    break
                end, width = end + 1, wider
            part = prompts[first:end]
            ids = torch.zeros(len(part), width, dtype=torch.int64)
            for row, prompt in zip(ids, part):
                row[:len(prompt)] = torch.tensor(prompt)
            lengths = torch.tensor([len(prompt) for prompt in part])
            logits.append(self.prefill_part(rows[first:end], ids.to(device), lengths.to(device)))
            first = end
        return torch.cat(logits)

    def prefill_part(self, rows, ids, lengths):
        """ids: `[rows, width]`, padded behind; lengths: `[rows]`"""
        width = ids.shape[1]
        rotation = self.draft.cos[:width], self.draft.sin[:width]

        def attend(layer, attention, x):
            q, k, v = attention.project(x, rotation)
            for kept, new in zip(self.cache[layer], (k, v)):
                kept[rows, :, :width] = new
            # Padding is behind, where no query of a prompt looks.
            return attention.attend(q, k, v)

        x = self.blocks(ids, attend)
        return self.logits(x[torch.arange(len(ids), device=ids.device), lengths - 1])

    def step(self, tokens, positions, span):
        """Logits after one more token of each row, `[rows, vocabulary]`.

        tokens, positions: `[rows]`; span: keys that are looked at, a multiple of `SPAN` above all positions
        """
        rows = torch.arange(len(tokens), device=tokens.device)
        rotation = tuple(table[positions][:, None, None] for table in (self.draft.cos, self.draft.sin))
        place = torch.arange(span, device=tokens.device)[None]
        seen = place <= positions[:, None]
        masks = {None: seen[:, None, None]}

        def mask(window):
            if window not in masks:
                near = place > positions[:, None] - window
                masks[window] = (seen & near)[:, None, None]
            return masks[window]

        def attend(layer, attention, x):
            q, k, v = attention.project(x, rotation)
            for kept, new in zip(self.cache[layer], (k, v)):
                kept[rows, :, positions] = new[:, :, 0]
            k, v = (kept[:, :, :span] for kept in self.cache[layer])
            # The query heads of a group are as many queries of one head.
            q = q.reshape(len(tokens), attention.kv_heads, -1, attention.dim)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask(attention.window))
            return out.reshape(len(tokens), 1, -1)

        return self.logits(self.blocks(tokens[:, None], attend)[:, 0])

    def keep(self, rows):
        """Goes on with these rows alone, `[rows]` indices."""
        self.cache = [(k[rows], v[rows]) for k, v in self.cache]

    def blocks(self, ids, attend):
        x = self.draft.model.embed_tokens(ids)
        for number, layer in enumerate(self.draft.model.layers):
            attention = layer.self_attn
            x = x + attention.o_proj(attend(number, attention, layer.input_layernorm(x)))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return x

    def logits(self, x):
        return F.linear(self.draft.model.norm(x).float(), self.head)
