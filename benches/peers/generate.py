"""Text from llama.cpp and from the CPU engine on the same GGUF file, prompt by prompt in turn.

    pip install llama-cpp-python
    cargo build --release --example generate
    python benches/peers/generate.py MODEL.gguf assets/eval/*.jsonl [--draft assets/smollm2-135m-draft]
        [--draft-gguf assets/smollm2-135m-draft/draft.Q4_0.gguf] [--dtype gguf] [--gamma 1] [--draft-length fixed] [--limit 4] [--threads 2]

Greedy, code and stories without the chat template, the prompt's processing included. Ours runs plain, with the draft, and with the suffix
lookup before it; llama.cpp plain, with its binding's prompt lookup, and with the same draft through the binding's interface
for draft models. That interface has llama.cpp compute the logits of every prompt token. Printed are medians over the
prompts of a task, and the median ratio of our best to its best.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import time

RAW = ("code", "stories")
RATE = re.compile(r"^(\d+) tokens, ([\d.]+) tok/s", re.MULTILINE)


class Ours:
    """The example `generate`, which times itself after loading."""

    def __init__(self, args, draft=None, gamma=1, length="fixed"):
        self.command = ["target/release/examples/generate", "--model", args.model, "--dtype", args.dtype]
        self.command += ["--temperature", "0", "--max-new-tokens", str(args.tokens)]
        if draft:
            self.command += ["--draft", draft, "--gamma", str(gamma), "--draft-length", length]
        self.env = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}

    def rate(self, prompt, raw):
        command = [*self.command, "--prompt", prompt] + ["--raw"] * raw
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=True
        )
        return float(RATE.search(done.stderr).group(2))


class LlamaCpp:
    def __init__(self, args, draft_model=None):
        from llama_cpp import Llama

        self.tokens = args.tokens
        self.model = load(Llama, args.model, args.threads, draft_model=draft_model)
        self.rate("Warm up.", True)

    def rate(self, prompt, raw):
        self.model.reset()
        start = time.perf_counter()
        if raw:
            made = self.model.create_completion(prompt, max_tokens=self.tokens, temperature=0.0)
        else:
            messages = [{"role": "user", "content": prompt}]
            made = self.model.create_chat_completion(messages, max_tokens=self.tokens, temperature=0.0)
        return made["usage"]["completion_tokens"] / (time.perf_counter() - start)


def load(llama, path, threads, **more):
    return llama(path, n_ctx=4096, n_threads=threads, n_threads_batch=threads, verbose=False, **more)


def by_model(path, threads, gamma):
    """A GGUF file as the binding's draft model, keeping what its cache has of the context."""
    import numpy
    from llama_cpp import Llama
    from llama_cpp.llama_speculative import LlamaDraftModel

    class Draft(LlamaDraftModel):
        def __init__(self):
            self.model = load(Llama, path, threads)

        def __call__(self, input_ids, /, **_):
            model, proposed, context = self.model, [], list(input_ids)
            known = list(model._input_ids)
            shared = next((i for i, (a, b) in enumerate(zip(known, context)) if a != b), min(len(known), len(context)))
            model.n_tokens = min(shared, len(context) - 1)
            pending = context[model.n_tokens :]
            for _ in range(gamma):
                model.eval(pending)
                pending = [int(numpy.argmax(model._scores[-1]))]
                proposed += pending
            return numpy.array(proposed, dtype=numpy.intc)

    return Draft()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--draft", default="assets/smollm2-135m-draft")
    parser.add_argument("--draft-gguf", default="assets/smollm2-135m-draft/draft.Q4_0.gguf")
    parser.add_argument("--dtype", default="gguf")
    parser.add_argument("--gamma", type=int, default=1)
    parser.add_argument("--draft-length", default="fixed", help="of ours")
    parser.add_argument("--limit", type=int, default=4, help="prompts of each file")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()

    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    ways = {
        "ours, plain": Ours(args),
        "ours, draft": Ours(args, args.draft, args.gamma, args.draft_length),
        "ours, lookup and draft": Ours(args, "suffix-lookup+" + args.draft, max(args.gamma, 3), args.draft_length),
        "llama.cpp, plain": LlamaCpp(args),
        "llama.cpp, prompt lookup": LlamaCpp(args, LlamaPromptLookupDecoding(num_pred_tokens=3)),
        "llama.cpp, draft": LlamaCpp(args, by_model(args.draft_gguf, args.threads, args.gamma)),
    }
    tasks = {}
    for path in args.prompts:
        with open(path, encoding="utf-8") as file:
            for line in list(file)[: args.limit]:
                prompt = json.loads(line)
                raw = prompt["task"] in RAW
                rates = {name: way.rate(prompt["prompt"], raw) for name, way in ways.items()}
                tasks.setdefault(prompt["task"], []).append(rates)
    print("| task | prompts | " + " | ".join(ways) + " | best over best |")
    print("|---|---:|" + "---:|" * (len(ways) + 1))
    for task, rows in tasks.items():
        medians = [statistics.median(row[name] for row in rows) for name in ways]

        def best(row, whose):
            return max(rate for name, rate in row.items() if name.startswith(whose))

        ratio = statistics.median(best(row, "ours") / best(row, "llama.cpp") for row in rows)
        cells = " | ".join(f"{value:.1f}" for value in medians)
        print(f"| {task} | {len(rows)} | {cells} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
