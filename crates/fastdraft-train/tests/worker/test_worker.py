"""Parts of the torch worker alone: `test_worker.py WORKER_FOLDER MATERIAL_FOLDER`.

The material is written by the Rust test that runs this: `order.json`, a folder `shards` and what is in it.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import unittest

WORKER, MATERIAL = sys.argv[1:3]
sys.path.insert(0, WORKER)

import numpy as np
import torch
from safetensors.torch import save_file

import batch
import checkpoint
import decode
import loss
import model
import optimizer
import order
import sampling
import shards
import slots
import teacher
from devices import FULL, Device


def material(name):
    with open(os.path.join(MATERIAL, name), encoding="utf-8") as file:
        return json.load(file)


class Order(unittest.TestCase):
    def test_rows_are_those_of_the_loader(self):
        compared = 0
        for case in material("order.json"):
            ours = order.Order(case["rows"], case["weights"], case["batch"], case["seed"])
            for step, expected in case["steps"]:
                self.assertEqual([list(sample) for sample in ours.share(step, 0, 1)], expected)
                compared += len(expected)
        self.assertGreater(compared, 3000)

    def test_ranks_share_a_step(self):
        ours = order.Order([7, 30], [1, 3], 10, 5)
        for world in (1, 2, 3, 7, 10):
            parts = [ours.share(3, rank, world) for rank in range(world)]
            self.assertTrue(all(parts))
            self.assertEqual(sum(parts, []), ours.share(3, 0, 1))


class Shards(unittest.TestCase):
    def setUp(self):
        self.facts = material("shards.json")
        self.folder = os.path.join(tempfile.mkdtemp(), "shards")
        shutil.copytree(os.path.join(MATERIAL, "shards"), self.folder)
        self.addCleanup(shutil.rmtree, os.path.dirname(self.folder))

    def open(self, fingerprint=None):
        given = self.facts["fingerprint"] if fingerprint is None else fingerprint
        return shards.ShardFolder(self.folder, int(given, 16), self.facts["vocabulary"])

    def test_rows_are_those_that_were_written(self):
        folder = self.open()
        folder.verify()
        self.assertGreater(len(folder.shards), 1)
        self.assertEqual(folder.rows, len(self.facts["rows"]))
        for index, (ids, mask) in enumerate(self.facts["rows"]):
            found = folder.row(index)
            self.assertEqual(found[0].tolist(), ids)
            self.assertEqual(found[1].tolist(), mask)

    def test_another_vocabulary_is_refused(self):
        with self.assertRaisesRegex(shards.ShardError, "made with vocabulary"):
            self.open("0000000000000bad")

    def read_all(self):
        folder = self.open()
        folder.verify()
        return [folder.row(index) for index in range(folder.rows)]

    def test_any_changed_byte_is_refused(self):
        path = os.path.join(self.folder, "shard-00000.fds")
        with open(path, "rb") as file:
            whole = file.read()
        picks = random.Random(1)
        places = list(range(128)) + [picks.randrange(128, len(whole)) for _ in range(300)]
        for place in places:
            with open(path, "wb") as file:
                changed = bytearray(whole)
                changed[place] ^= 1 << picks.randrange(8)
                file.write(changed)
            with self.assertRaises(shards.ShardError, msg=f"byte {place}"):
                self.read_all()

    def test_cut_and_longer_files_are_refused(self):
        path = os.path.join(self.folder, "shard-00000.fds")
        with open(path, "rb") as file:
            whole = file.read()
        for changed in (b"", whole[:100], whole[:-1], whole + b"\0", whole[:200]):
            with open(path, "wb") as file:
                file.write(changed)
            with self.assertRaises(shards.ShardError):
                self.read_all()

    def test_an_index_cannot_reach_outside_its_folder(self):
        path = os.path.join(self.folder, "index.json")
        index = material("shards/index.json")
        for change in (
            lambda: index["shards"][0].update(file="../shard-00000.fds"),
            lambda: index["shards"][0].update(file=7),
            lambda: index["shards"][0].pop("rows"),
            lambda: index.update(version=2),
            lambda: index.update(shards=None),
        ):
            change()
            with open(path, "w", encoding="utf-8") as file:
                json.dump(index, file)
            with self.assertRaises(shards.ShardError):
                self.open()
            index = material("shards/index.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{")
        with self.assertRaises(shards.ShardError):
            self.open()


LOSSES = [(1, 0, 0), (0, 1, 0), (0.5, 0.5, 0), (0, 0, 1), (0.5, 0, 0.5)]


class Loss(unittest.TestCase):
    def targets(self, weights):
        terms = dict(zip(("cross_entropy", "kl", "tvd"), weights))
        # Tokens 4 and 7 are not in the head.
        head_rows = np.array([0, 1, 2, 3, -1, 4, 5, -1])
        thoughts = (
            np.array([[1, 4, 2], [7, 4, 0], [4, 7, 0], [3, 2, 6]], np.uint32),
            np.array([[0.5, 0.2, 0.1], [0.6, 0.2, 0.1], [0.5, 0.3, 0.0], [0.7, 0.0, 0.0]], np.float32),
        )
        rows = [
            (np.array([1, 4, 2, 3, 6]), np.array([True, True, False, True, True]), thoughts),
            (np.array([2, 4, 3, 1, 0]), np.array([False, False, True, False, True]), (thoughts[0][:2], thoughts[1][:2])),
        ]
        goals = batch.Batcher(head_rows, terms).goals(rows)
        return goals, loss.Targets(goals, batch.totals(goals), terms, torch.device("cpu")), terms

    def test_definitions(self):
        generator = torch.Generator().manual_seed(3)
        for weights in LOSSES:
            goals, targets, terms = self.targets(weights)
            logits = torch.randn(len(goals.positions), 6, generator=generator, dtype=torch.float32)
            q = torch.softmax(logits.double(), -1).numpy()
            entropy, kl, tvd = [], [], []
            for place in range(len(q)):
                if goals.has_label[place]:
                    entropy.append(-np.log(q[place, goals.labels[place]]))
                p = np.zeros(6)
                for id, share in zip(goals.ids[place], goals.shares[place]):
                    p[id] += share
                some = p > 0
                kl.append(goals.mass[place] * (p[some] * np.log(p[some] / q[place][some])).sum())
                tvd.append(goals.mass[place] * 0.5 * np.abs(p - q[place]).sum() if some.any() else 0)
            mass = goals.mass.sum() or 1
            expected = terms["cross_entropy"] * (np.mean(entropy) if entropy else 0)
            expected += (terms["kl"] * sum(kl) + terms["tvd"] * sum(tvd)) / mass
            self.assertAlmostEqual(float(targets.value(logits, slice(None))), expected, places=5, msg=str(weights))

    def test_pieces_have_the_gradients_of_the_whole(self):
        generator = torch.Generator().manual_seed(4)
        for weights in LOSSES:
            goals, targets, _ = self.targets(weights)
            hidden = torch.randn(len(goals.positions), 5, generator=generator)
            weight = torch.randn(6, 5, generator=generator)
            results = []
            for logits in (None, 1, 13, 1000):
                h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
                if logits is None:
                    value = targets.value(h @ w.T, slice(None))
                else:
                    value = loss.head_loss(h, w, targets, logits)
                (3 * value).backward()
                results.append((value.detach(), h.grad, w.grad))
            for other in results[1:]:
                for a, b in zip(results[0], other):
                    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)

    def test_a_live_teacher_has_the_loss_of_one_that_recorded_everything(self):
        torch.manual_seed(9)
        config = {**Layout.CONFIG, "vocabulary_size": 8, "head_size": 8, "sliding_window": None}
        rotary = {"frequencies": [1.0, 0.1], "attention_factor": 1.0}
        target = model.Draft(config, rotary, 5)
        for parameter in target.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.makedirs(os.path.join(folder, "target", "model"))
        tensors = dict(target.state_dict())
        checkpoint.join_fused(tensors, config)
        save_file(tensors, os.path.join(folder, "target", "model", "model.safetensors"))
        # Tokens 4 and 7 are not in the head, and its rows are not in the order of the tokens.
        head_rows = np.array([2, 1, 0, 3, -1, 5, 4, -1])
        entry = {"folder": "target", "model": config, "rotary": rotary}
        live = teacher.Teacher(folder, entry, 5, torch.device("cpu"), head_rows, None)
        ids = np.array([[1, 4, 2, 3, 6, 0], [5, 7, 0, 1, 1, 2]])
        masks = [np.array([True, True, False, True, True, True]), np.array([False, False, True, False, True, False])]
        with torch.no_grad():
            whole = torch.softmax(target.hidden(torch.from_numpy(ids[:, :-1])) @ target.head().T, -1).numpy()
        for weights in LOSSES[1:]:
            terms = dict(zip(("cross_entropy", "kl", "tvd"), weights))
            # A masked first token has no prediction; it still has a place in what was recorded.
            said = [[whole[row, max(place - 1, 0)] for place in np.flatnonzero(mask)] for row, mask in enumerate(masks)]
            thoughts = [(np.tile(np.arange(8, dtype=np.uint32), (len(p), 1)), np.stack(p)) for p in said]
            recorded = batch.Batcher(head_rows, terms).goals(list(zip(ids, masks, thoughts)))
            rows = list(zip(ids, masks, [None, None]))
            goals = batch.Batcher(head_rows, terms, live=True).goals(rows)
            self.assertEqual(goals.positions.tolist(), recorded.positions.tolist())
            thought = live.think(batch.inputs(rows), goals)
            totals = batch.totals(goals)
            totals[1] += float(thought.mass.sum())
            self.assertAlmostEqual(float(totals[1]), float(batch.totals(recorded)[1]), places=5)
            logits = torch.randn(len(goals.positions), 6)
            ours = loss.Targets(goals, totals, terms, torch.device("cpu"), thought)
            theirs = loss.Targets(recorded, batch.totals(recorded), terms, torch.device("cpu"))
            value = [float(targets.value(logits, slice(None))) for targets in (ours, theirs)]
            self.assertAlmostEqual(*value, places=5, msg=str(weights))

    def test_shares_outside_the_head_weigh_less(self):
        goals, _, _ = self.targets((0, 1, 0))
        # The first masked token of row 0 has no input; the third one's tokens are not in the head.
        self.assertEqual(goals.positions.tolist(), [0, 3, 5, 7])
        np.testing.assert_allclose(goals.mass, [0.1, 0.7, 0.6, 0.1], atol=1e-6)
        np.testing.assert_allclose(goals.shares.sum(1), 1)


class Optimizer(unittest.TestCase):
    def test_steps_are_those_of_the_formula(self):
        torch.manual_seed(0)
        named = [("layers.0.weight", torch.nn.Parameter(torch.randn(3, 2))), ("norm.weight", torch.nn.Parameter(torch.randn(4)))]
        constants = {"beta_1": 0.9, "beta_2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1}
        for fused in (True, False):
            ours = optimizer.Optimizer(named, constants, 0.5, fused)
            w = {name: p.detach().double().clone() for name, p in named}
            m, v = ({name: torch.zeros_like(p) for name, p in w.items()} for _ in range(2))
            for step in range(1, 5):
                for name, p in named:
                    p.grad = torch.randn(p.shape)
                norm = ours.gradient_norm()
                exact = sum(float(p.grad.double().square().sum()) for _, p in named) ** 0.5
                self.assertAlmostEqual(norm, exact, places=4)
                for name, p in named:
                    g = p.grad.double() * min(1, 0.5 / exact)
                    m[name] += 0.1 * (g - m[name])
                    v[name] += 0.05 * (g * g - v[name])
                    first, second = m[name] / (1 - 0.9**step), v[name] / (1 - 0.95**step)
                    decay = 0.1 if p.dim() == 2 else 0.0
                    w[name] -= 1e-2 * (first / (second.sqrt() + 1e-8) + decay * w[name])
                ours.step(1e-2, norm)
            for name, p in named:
                torch.testing.assert_close(p.detach().double(), w[name], atol=1e-6, rtol=1e-5)


class Layout(unittest.TestCase):
    CONFIG = {
        "family": "phi3", "vocabulary_size": 11, "head_size": 11, "hidden_size": 8, "intermediate_size": 6, "layers": 2,
        "heads": 2, "kv_heads": 1, "head_dim": 4, "norm_epsilon": 1e-5, "sliding_window": 3, "tied": True,
        "qkv_bias": False, "output_bias": False, "mlp_bias": False, "qk_norm": False,
    }

    def draft(self, checkpointing=False):
        torch.manual_seed(1)
        return model.Draft(self.CONFIG, {"frequencies": [1.0, 0.1], "attention_factor": 1.0}, 7, checkpointing)

    def test_blocks_that_run_again_have_the_same_gradients(self):
        kept, again = self.draft(), self.draft(checkpointing=True)
        for parameter in kept.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        again.load_state_dict(kept.state_dict())
        ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
        for draft in (kept, again):
            draft.hidden(ids).square().sum().backward()
        for (name, a), b in zip(kept.named_parameters(), again.parameters()):
            self.assertGreater(float(a.grad.abs().sum()), 0, name)
            self.assertTrue(torch.equal(a.grad, b.grad), name)

    def test_fused_projections_come_apart_and_together(self):
        tensors = dict(self.draft().state_dict())
        whole = dict(tensors)
        checkpoint.join_fused(whole, self.CONFIG)
        self.assertEqual(whole["model.layers.1.self_attn.qkv_proj.weight"].shape, (16, 8))
        self.assertEqual(whole["model.layers.0.mlp.gate_up_proj.weight"].shape, (12, 8))
        checkpoint.split_fused(whole, self.CONFIG)
        self.assertEqual(set(whole), set(tensors))
        for name, value in tensors.items():
            self.assertTrue(torch.equal(whole[name], value), name)

    def test_moments_come_back(self):
        self.assertEqual(checkpoint.path_of("model.layers.0.input_layernorm.weight"), "layers.0.input_layernorm.gamma")
        self.assertEqual(checkpoint.path_of("lm_head.weight"), "lm_head.weight")
        for name, parameter in self.draft().named_parameters():
            flat = checkpoint.flatten(name, parameter)
            self.assertTrue(torch.equal(checkpoint.unflatten(name, flat, parameter.shape), parameter), name)
        name, value = "model.layers.0.mlp.up_proj.weight", torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        self.assertEqual(checkpoint.flatten(name, value).tolist(), [1, 3, 2, 4])
        self.assertEqual(checkpoint.flatten("model.embed_tokens.weight", value).tolist(), [1, 2, 3, 4])

    def test_a_window_hides_older_tokens(self):
        draft = self.draft()
        for parameter in draft.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        one = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
        other = one.clone()
        other[0, 0] = 9
        # Two blocks with a window of 3 see 5 tokens.
        same = torch.isclose(draft.hidden(one), draft.hidden(other), atol=1e-6).all(-1)[0]
        self.assertEqual(same.tolist(), [False] * 5 + [True] * 2)


class Answers(unittest.TestCase):
    def draft(self, **changes):
        torch.manual_seed(3)
        config = {**Layout.CONFIG, "family": "qwen3", "heads": 4, "kv_heads": 2, "qk_norm": True, **changes}
        draft = model.Draft(config, {"frequencies": [1.0, 0.1], "attention_factor": 1.0}, 48)
        for parameter in draft.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        return draft

    @torch.inference_mode()
    def test_tokens_one_by_one_have_the_logits_of_whole_sequences(self):
        for changes in ({}, {"sliding_window": None}, {"full_attention_layers": [1]}):
            draft = self.draft(**changes)
            texts = [[(3 * i + start) % 11 for i in range(length)] for start, length in ((1, 30), (2, 12), (5, 21))]
            prompts = [text[:cut] for text, cut in zip(texts, (20, 2, 11))]
            wanted = []
            for text, prompt in zip(texts, prompts):
                whole = torch.nn.functional.linear(draft.hidden(torch.tensor([text]))[0], draft.head())
                wanted.append(whole[len(prompt) - 1:])
            self.addCleanup(setattr, decode, "PREFILL", decode.PREFILL)
            decode.PREFILL = 25
            decoding = decode.Decoding(draft, 4, 40)
            # Rows are taken in any order; the last one goes unused.
            taken = [2, 0, 1]
            logits = torch.zeros(4, 11)
            logits[taken] = decoding.prefill(torch.tensor(taken), prompts)
            rows = {row: number for number, row in enumerate(taken)}
            for step in range(10):
                for row, number in rows.items():
                    torch.testing.assert_close(logits[row], wanted[number][step], atol=1e-5, rtol=1e-4)
                if step == 9:
                    break
                if step == 4:
                    # The second sequence and the unused row leave.
                    decoding.keep(torch.tensor([1, 2]))
                    rows = {0: rows[1], 1: rows[2]}
                positions = [len(prompts[rows[row]]) + step if row in rows else 0 for row in range(len(logits))]
                positions = positions[:2] if step >= 4 else positions
                tokens = [texts[rows[row]][position] if row in rows else 0 for row, position in enumerate(positions)]
                span = decode.spanned(max(positions) + 1)
                logits = decoding.step(torch.tensor(tokens), torch.tensor(positions), span)

    def ask(self, batch):
        """Questions of several lengths to a draft of 40 tokens; three of them end an answer."""
        asked = 11
        return {
            "prompts": [[(7 * i + j) % 39 for j in range(2 + 5 * (i % 7))] for i in range(asked)], "max_new_tokens": 9,
            "ends": [31, 35, 39], "temperatures": [0.8 * (i % 2) for i in range(asked)], "seeds": [f"{i << 60 | i:x}" for i in range(asked)],
            "top_k": 3, "batch": batch,
        }

    def answers(self, draft, ask, ahead=1):
        device = Device(torch.device("cpu"), "gloo", fused_optimizer=True, ahead=ahead)
        lists = list(slots.answers(draft, device, ask, range(len(ask["prompts"]))))
        found = {question: columns for answers in lists for question, *columns in answers}
        self.assertEqual(sum(map(len, lists)), len(found), "an answer came twice")
        return found

    @torch.inference_mode()
    def test_answers_are_those_of_one_sequence_after_the_other(self):
        draft = self.draft(vocabulary_size=40, head_size=40)
        ask = self.ask(batch=1)
        ends, lengths = 0, set()
        for batch, ahead in ((1, 1), (3, 4), (8, 8), (64, 3)):
            found = self.answers(draft, {**ask, "batch": batch}, ahead)
            self.assertEqual(sorted(found), list(range(11)))
            for question, (ids, top_ids, top_p) in found.items():
                text = list(ask["prompts"][question])
                seed = torch.tensor([sampling.signed(int(ask["seeds"][question], 16))])
                for place, token in enumerate(ids.tolist()):
                    logits = torch.nn.functional.linear(draft.hidden(torch.tensor([text]))[:, -1], draft.head())
                    number = sampling.uniform(seed, torch.tensor([place]))
                    heat = torch.tensor([ask["temperatures"][question]])
                    self.assertEqual(token, int(sampling.draw(logits, heat, number)), (batch, question, place))
                    shares = torch.softmax(logits[0], -1)
                    # Ids of equal shares may change places.
                    np.testing.assert_allclose(shares[top_ids[place].tolist()], shares.topk(3).values, atol=1e-5)
                    np.testing.assert_allclose(top_p[place], shares.topk(3).values, atol=1e-5)
                    text.append(token)
                self.assertTrue(len(ids) == 9 or ids[-1] in ask["ends"])
                self.assertFalse(set(ids[:-1].tolist()) & set(ask["ends"]))
                ends += ids[-1] in ask["ends"]
                lengths.add(len(ids))
        self.assertGreater(ends, 3)
        self.assertGreater(len(lengths), 3)
        without = self.answers(draft, {**ask, "batch": 4, "top_k": 0})
        self.assertEqual([without[q][0].tolist() for q in range(11)], [found[q][0].tolist() for q in range(11)])
        self.assertEqual(without[0][1:], [None, None])

    def test_prompts_of_a_group_need_like_room(self):
        ask = {"prompts": [[0] * length for length in (500, 3, 40, 5, 41, 39, 3)], "max_new_tokens": 20}
        found = [(room, list(group)) for room, group in slots.groups(ask, [0, 1, 2, 3, 4, 6])]
        self.assertEqual(found, [(25, [1, 6, 3]), (61, [2, 4]), (520, [0])])

    @torch.inference_mode()
    def test_rows_without_memory_are_halved(self):
        draft = self.draft(vocabulary_size=40, head_size=40)
        ask = self.ask(batch=8)
        whole = self.answers(draft, ask)
        honest, tried = slots.Decoding, []

        class Narrow(honest):
            fits = 2

            def prefill(self, rows, prompts):
                tried.append(len(prompts))
                if len(prompts) > Narrow.fits:
                    raise FULL("out of memory")
                return super().prefill(rows, prompts)

        slots.Decoding = Narrow
        self.addCleanup(setattr, slots, "Decoding", honest)
        halved = self.answers(draft, ask)
        # The largest group has six.
        self.assertEqual(max(tried), 6)
        self.assertEqual({q: ids.tolist() for q, (ids, *_) in halved.items()}, {q: ids.tolist() for q, (ids, *_) in whole.items()})
        Narrow.fits = 0
        with self.assertRaises(FULL):
            self.answers(draft, ask)

    def test_draws_follow_the_temperature(self):
        logits = torch.tensor([2.0, 1.0, 0.5, -1.0, 0.0])
        count = 100_000
        numbers = (torch.arange(count) + 0.5) / count
        for temperature in (0.6, 1.0, 2.0):
            found = sampling.draw(logits.expand(count, -1), torch.full((count,), temperature), numbers)
            shares = torch.bincount(found, minlength=5) / count
            # A grid of numbers gives each token its probability, to one point of the grid.
            torch.testing.assert_close(shares, torch.softmax(logits / temperature, -1), atol=3e-5, rtol=0)
        mixed = sampling.draw(logits.expand(2, -1), torch.tensor([0.0, 1.0]), torch.tensor([0.999, 0.999]))
        self.assertEqual(mixed.tolist(), [0, 4])

    def test_numbers_are_those_of_seed_and_position(self):
        seeds = torch.arange(2000) * 0x9E37 + sampling.signed(2**63)
        numbers = torch.stack([sampling.uniform(seeds, torch.full_like(seeds, position)) for position in range(50)]).numpy()
        self.assertTrue((numbers >= 0).all() and (numbers < 1).all())
        self.assertEqual(float(sampling.uniform(seeds[7:8], torch.tensor([9]))[0]), numbers[9, 7])
        counts = np.histogram(numbers, 100, (0, 1))[0]
        expected = numbers.size / 100
        # 99 degrees of freedom: 180 is beyond 1 in 10^6.
        self.assertLess((((counts - expected) ** 2) / expected).sum(), 180)
        # The first outputs of SplitMix64 from seed 0, as published with it, to 24 bits.
        published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
        ours = sampling.uniform(torch.zeros(3, dtype=torch.int64), torch.arange(3))
        self.assertEqual([round(float(x) * 2**24) for x in ours], [x >> 40 for x in published])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
