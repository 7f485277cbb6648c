"""Answers under way: a row that has ended is given to the next question."""

from collections import deque

import numpy as np
import torch
from channel import log
from decode import Decoding, spanned
from devices import FULL, release_memory
from sampling import draw, signed, uniform

# Rows are given away once they are this part of all, and left out once they are that part and no question waits.
FREE, IDLE = 1 / 8, 1 / 2


class Slots:
    """Rows of answers to the questions of an ask.

    On the device, of each row: the logits of its next token `[rows, vocabulary]`, what it has said
    `ids [rows, most + 1]`, how many tokens that are, and whether it goes on. Rows that do not are
    computed too; what they say lands behind their answer.
    """

    def __init__(self, draft, device, ask, rows, capacity):
        self.ask, self.device = ask, device
        self.most, self.top_k = ask["max_new_tokens"], ask["top_k"]
        # A row that has ended still has a place.
        self.decoding = Decoding(draft, rows, capacity + 1)
        self.ends = self.put(ask["ends"], torch.int64)
        self.questions = [None] * rows
        # Passes that a row has had, so the longest answer is known without asking the device.
        self.passes = np.zeros(rows, np.int64)
        self.prompted = np.zeros(rows, np.int64)
        zeros = {"device": device.torch}
        self.state = {
            "logits": torch.zeros(rows, self.decoding.head.shape[0], **zeros),
            "lengths": torch.zeros(rows, dtype=torch.int64, **zeros),
            "counts": torch.zeros(rows, dtype=torch.int64, **zeros),
            "alive": torch.zeros(rows, dtype=torch.bool, **zeros),
            "temperatures": torch.zeros(rows, **zeros),
            "seeds": torch.zeros(rows, dtype=torch.int64, **zeros),
            "ids": torch.zeros(rows, self.most + 1, dtype=torch.int32, **zeros),
        }
        if self.top_k:
            shape = (rows, self.most + 1, self.top_k)
            self.state["top_ids"] = torch.zeros(shape, dtype=torch.int32, **zeros)
            self.state["top_p"] = torch.zeros(shape, **zeros)
        self.recorded = {}

    def put(self, values, dtype):
        return torch.tensor(values, dtype=dtype).to(self.device.torch)

    def under_way(self):
        return [question for question in self.questions if question is not None]

    def run(self, waiting):
        """Lists of answers, until none is under way and none waits."""
        try:
            while waiting or self.under_way():
                self.fill(waiting)
                for _ in range(self.device.ahead):
                    self.advance()
                if ended := self.ended(waiting):
                    yield ended
        finally:
            # They hold this object, and what it has on the device.
            self.recorded.clear()

    def fill(self, waiting):
        """Gives free rows to the questions that wait, and takes those off the list."""
        free = [row for row, question in enumerate(self.questions) if question is None]
        given = [waiting.popleft() for _ in range(min(len(free), len(waiting)))]
        if not given:
            return
        free = free[:len(given)]
        for row, question in zip(free, given):
            self.questions[row] = question
        prompts = [self.ask["prompts"][question] for question in given]
        rows = self.put(free, torch.int64)
        self.state["logits"][rows] = self.decoding.prefill(rows, prompts)
        lengths = [len(prompt) for prompt in prompts]
        self.passes[free], self.prompted[free] = 0, lengths
        for name, value in (
            ("lengths", self.put(lengths, torch.int64)),
            ("counts", 0),
            ("alive", True),
            ("temperatures", self.put([self.ask["temperatures"][question] for question in given], torch.float32)),
            ("seeds", self.put([signed(int(self.ask["seeds"][question], 16)) for question in given], torch.int64)),
        ):
            self.state[name][rows] = value

    def advance(self):
        """One more token of every row."""
        longest = int((self.prompted + np.minimum(self.passes, self.most)).max()) + 1
        span = spanned(longest)
        if span not in self.recorded:
            self.recorded[span] = self.device.recorded(lambda: self.work(span))
        self.recorded[span]()
        self.passes += 1

    def work(self, span):
        """What the device does for a token; it changes the state in place."""
        state = self.state
        logits, counts, alive = state["logits"], state["counts"], state["alive"]
        rows = torch.arange(len(counts), device=counts.device)
        if self.top_k:
            top = torch.softmax(logits, -1).topk(self.top_k)
            state["top_ids"][rows, counts] = top.indices.int()
            state["top_p"][rows, counts] = top.values
        tokens = draw(logits, state["temperatures"], uniform(state["seeds"], counts))
        state["ids"][rows, counts] = tokens.int()
        positions = state["lengths"] + counts
        counts += alive
        ended = (tokens[:, None] == self.ends[None]).any(1) | (counts >= self.most)
        alive &= ~ended
        logits.copy_(self.decoding.step(tokens, positions, span))

    def ended(self, waiting):
        """Answers that have ended, once they are enough: `(question, ids, top_ids, top_p)` each."""
        alive = self.state["alive"].cpu().numpy()
        done = [row for row, question in enumerate(self.questions) if question is not None and not alive[row]]
        if len(done) < len(self.under_way()) and len(done) < FREE * len(self.questions):
            return []
        rows = self.put(done, torch.int64)
        names = ("counts", "ids", "top_ids", "top_p")
        said = {name: self.state[name][rows].cpu().numpy() for name in names if name in self.state}
        answers = []
        for place, row in enumerate(done):
            part = slice(0, int(said["counts"][place]))
            columns = (said[name][place, part] if name in said else None for name in names[1:])
            answers.append((self.questions[row], *columns))
            self.questions[row] = None
            self.passes[row] = self.prompted[row] = 0
        if not waiting:
            self.compact()
        return answers

    def compact(self):
        """Leaves free rows out when they are many."""
        left = [row for row, question in enumerate(self.questions) if question is not None]
        if not left or len(left) > (1 - IDLE) * len(self.questions):
            return
        rows = self.put(left, torch.int64)
        # What was recorded knows the tensors as they were.
        self.recorded.clear()
        self.decoding.keep(rows)
        self.state = {name: value[rows] for name, value in self.state.items()}
        self.questions = [self.questions[row] for row in left]
        self.passes, self.prompted = self.passes[left], self.prompted[left]


def groups(ask, questions):
    """Questions by the length of their prompts, in groups that need no more than twice the room of their shortest."""
    room = {question: len(ask["prompts"][question]) + ask["max_new_tokens"] for question in questions}
    found = []
    for question in sorted(questions, key=lambda question: (room[question], question)):
        if not found or room[question] > 2 * room[found[-1][0]]:
            found.append([])
        found[-1].append(question)
    return [(room[group[-1]], deque(group)) for group in found]


def answers(draft, device, ask, questions):
    """Lists of answers, in the order they end.

    A device that has no memory for so many rows begins those that it was at again, with half as many rows.
    """
    rows = ask["batch"]
    for capacity, waiting in groups(ask, questions):
        while waiting:
            rows, slots = min(rows, len(waiting)), None
            try:
                slots = Slots(draft, device, ask, rows, capacity)
                yield from slots.run(waiting)
            except FULL:
                if rows == 1:
                    raise
                if slots is not None:
                    waiting.extendleft(reversed(slots.under_way()))
            # Here the exception and what it held are gone.
            if waiting:
                log(f"no memory for {rows} sequences at once, now {-(-rows // 2)}")
                rows = -(-rows // 2)
            slots = None
            release_memory()
        rows = ask["batch"]
