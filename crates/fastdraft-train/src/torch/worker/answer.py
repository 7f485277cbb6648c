"""Answers of a target: `answer.py RUN_FOLDER`, started by torchrun; every rank answers its share.

The rank writes each batch of answers to a file below the folder and sends `answered` with its name.
"""

import os
import sys
import traceback

import numpy as np
import torch
from channel import Channel, log
from checkpoint import Store
from decode import prefilled
from devices import FULL, open_device, release_memory
from model import Draft
from order import WORD
from safetensors.numpy import save_file
from stage import read_document

FORMAT, VERSION = "fastdraft-torch-answers", 1
# Rows that have ended are left out of the passes once they are this part of them.
ENDED = 0.25


def uniform(seeds, position):
    """A number from [0, 1) for each row, of its seed and the position alone: SplitMix64."""
    with np.errstate(over="ignore"):
        z = seeds + np.uint64((0x9E3779B97F4A7C15 * (position + 1)) & WORD)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)) / np.float64(1 << 24)).astype(np.float32)


def draw(logits, temperatures, numbers):
    """A token of each row: the most probable one at temperature 0, else by inversion. `[rows]`"""
    greedy = logits.argmax(-1)
    if bool((temperatures == 0).all()):
        return greedy
    scaled = logits / torch.where(temperatures > 0, temperatures, 1.0)[:, None]
    mass = torch.softmax(scaled, -1).cumsum(-1)
    # Rounding may leave the sum below the number.
    found = torch.searchsorted(mass, numbers[:, None] * mass[:, -1:], right=True)[:, 0]
    return torch.where(temperatures > 0, found.clamp_max(logits.shape[1] - 1), greedy)


class Batch:
    """Answers under way."""

    def __init__(self, draft, ask, questions):
        self.ask, self.device = ask, draft.cos.device
        self.questions = questions
        prompts = [ask["prompts"][question] for question in questions]
        most = max(len(prompt) for prompt in prompts) + ask["max_new_tokens"]
        self.decoding, self.logits = prefilled(draft, prompts, most)
        self.lengths = np.array([len(prompt) for prompt in prompts])
        self.rows = np.arange(len(questions))
        self.alive = np.ones(len(questions), bool)
        self.temperatures = self.put(np.array([ask["temperatures"][q] for q in questions], np.float32))
        self.seeds = np.array([int(ask["seeds"][q], 16) for q in questions], np.uint64)
        self.ids = [[] for _ in questions]
        self.taught = []

    def put(self, values):
        return torch.from_numpy(values).to(self.device)

    def run(self):
        most, ends = self.ask["max_new_tokens"], set(self.ask["ends"])
        for position in range(most):
            if self.ask["top_k"]:
                top = torch.softmax(self.logits, -1).topk(self.ask["top_k"])
                self.taught.append((self.rows[self.alive], self.alive.copy(), top.indices.int(), top.values))
            tokens = draw(self.logits, self.temperatures, self.put(uniform(self.seeds[self.rows], position)))
            for place, (row, token) in enumerate(zip(self.rows, tokens.tolist())):
                if self.alive[place]:
                    self.ids[row].append(token)
                    self.alive[place] = token not in ends
            if position + 1 == most or not self.alive.any():
                return
            if 1 - self.alive.mean() >= ENDED:
                tokens = self.compact(tokens)
            positions = self.lengths[self.rows] + position
            self.logits = self.decoding.step(tokens, self.put(positions), int(positions.max()))

    def compact(self, tokens):
        left = np.flatnonzero(self.alive)
        kept = self.put(left)
        self.decoding.keep(kept)
        self.temperatures = self.temperatures[kept]
        self.rows, self.alive = self.rows[left], self.alive[left]
        return tokens[kept]

    def leave_device(self):
        """Keeps on the host what is saved later."""
        for number, (rows, alive, ids, values) in enumerate(self.taught):
            alive = self.put(np.flatnonzero(alive))
            self.taught[number] = rows, ids[alive].cpu().numpy(), values[alive].cpu().numpy()
        del self.decoding, self.logits, self.temperatures

    def save(self, path):
        """Questions and lengths `[answers]`, ids `[tokens]`; top_ids and top_p `[tokens, k]`."""
        lengths = np.array([len(ids) for ids in self.ids], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        tensors = {
            "questions": np.array(self.questions, np.int64),
            "lengths": lengths,
            "ids": np.array([token for ids in self.ids for token in ids], np.int64),
        }
        if k := self.ask["top_k"]:
            top_ids, top_p = np.zeros((starts[-1], k), np.int32), np.zeros((starts[-1], k), np.float32)
            for position, (rows, ids, values) in enumerate(self.taught):
                places = starts[rows] + position
                top_ids[places], top_p[places] = ids, values
            tensors |= {"top_ids": top_ids, "top_p": top_p}
        save_file(tensors, path)
        return int(starts[-1])


def answered(draft, ask, questions):
    """Batches that have ended; one that the device has no memory for is halved until it fits."""
    try:
        batch = Batch(draft, ask, questions)
        batch.run()
        batch.leave_device()
        return [batch]
    except FULL:
        if len(questions) == 1:
            raise
    # Here the exception and what it held are gone.
    log(f"no memory for {len(questions)} sequences at once, now {-(-len(questions) // 2)}")
    release_memory()
    half = -(-len(questions) // 2)
    return answered(draft, ask, questions[:half]) + answered(draft, ask, questions[half:])


@torch.inference_mode()
def answer(folder, channel, rank, world):
    ask = read_document(os.path.join(folder, "ask.json"), FORMAT, VERSION)
    device = open_device(ask["device"])
    store = Store(folder, ask["model"])
    longest = max(len(prompt) for prompt in ask["prompts"]) + ask["max_new_tokens"]
    draft = Draft(ask["model"], ask["rotary"], longest)
    store.load(draft)
    draft = draft.to(device.torch)
    # Prompts of like length share a batch, so little is padding.
    order = sorted(range(len(ask["prompts"])), key=lambda question: (len(ask["prompts"][question]), question))
    order = order[rank::world]
    for number, first in enumerate(range(0, len(order), ask["batch"])):
        for part, batch in enumerate(answered(draft, ask, order[first:first + ask["batch"]])):
            name = f"answered-{rank}-{number}-{part}.safetensors"
            tokens = batch.save(os.path.join(folder, name))
            channel.send("answered", file=name, answers=len(batch.questions), tokens=tokens)


def main():
    channel = Channel()
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    try:
        answer(sys.argv[1], channel, rank, world)
    except Exception as error:
        channel.send("error", rank=rank, kind="exception", message=f"{type(error).__name__}: {error}"[:2000])
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
