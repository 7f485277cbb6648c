"""Answers of a target: `answer.py RUN_FOLDER`, started by torchrun; every rank answers its share.

Rank 0 takes commands, one JSON object a line: `answer` with the number of an ask, whose file is
`ask-NUMBER.json`, and `stop`. Every rank writes answers to files below the folder and sends
`answered` with each name.
"""

import datetime
import os
import sys
import traceback

import numpy as np
import torch
import torch.distributed as dist
from channel import Channel, Gone
from checkpoint import Store
from devices import open_device
from model import Draft, to_precision
from safetensors.numpy import save_file
from slots import answers
from stage import read_document

FORMAT, VERSION = "fastdraft-torch-answers", 2
STOP = -1


def save(path, ended):
    """Questions and lengths `[answers]`, ids `[tokens]`; top_ids and top_p `[tokens, k]`."""
    questions, ids, top_ids, top_p = zip(*ended)
    tensors = {
        "questions": np.array(questions, np.int64),
        "lengths": np.array([len(answer) for answer in ids], np.int64),
        "ids": np.concatenate(ids).astype(np.int64),
    }
    if top_ids[0] is not None:
        tensors |= {"top_ids": np.concatenate(top_ids), "top_p": np.concatenate(top_p)}
    save_file(tensors, path)
    return len(tensors["ids"])


class Rank:
    def __init__(self, folder, channel):
        self.folder, self.channel = folder, channel
        self.rank, self.world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
        if self.world > 1:
            dist.init_process_group("gloo", timeout=datetime.timedelta(hours=24))
        self.draft = None

    def decide(self):
        """The number of the next ask, from rank 0."""
        word = STOP
        if self.rank == 0:
            try:
                command = self.channel.receive()
                word = command["ask"] if command["do"] == "answer" else STOP
            except Gone:
                pass
        if self.world > 1:
            word = torch.tensor(word)
            dist.broadcast(word, 0)
        return int(word)

    def load(self, ask, longest):
        """The target, with angles for so many places."""
        if self.draft is None:
            self.draft = Draft(ask["model"], ask["rotary"], longest)
            Store(self.folder, ask["model"]).load(self.draft)
            to_precision(self.draft, ask["precision"])
        else:
            self.draft.turn(ask["rotary"], longest)
        self.draft.to(self.device.torch)

    def answer(self, number):
        ask = read_document(os.path.join(self.folder, f"ask-{number}.json"), FORMAT, VERSION)
        self.device = open_device(ask["device"])
        # A row that has ended still has a place.
        self.load(ask, max(len(prompt) for prompt in ask["prompts"]) + ask["max_new_tokens"] + 1)
        questions = range(self.rank, len(ask["prompts"]), self.world)
        for part, ended in enumerate(answers(self.draft, self.device, ask, questions)):
            name = f"answered-{self.rank}-{number}-{part}.safetensors"
            tokens = save(os.path.join(self.folder, name), ended)
            self.channel.send("answered", file=name, answers=len(ended), tokens=tokens)

    @torch.inference_mode()
    def run(self):
        while (number := self.decide()) != STOP:
            self.answer(number)
        if self.world > 1:
            dist.destroy_process_group()


def main():
    channel = Channel()
    try:
        Rank(sys.argv[1], channel).run()
    except Exception as error:
        rank = int(os.environ.get("RANK", "0"))
        channel.send("error", rank=rank, kind="exception", message=f"{type(error).__name__}: {error}"[:2000])
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
