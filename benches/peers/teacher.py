"""Answers a second of a teacher on the CPU engine and of transformers `generate`, in turns.

    pip install torch==2.9.0 transformers gguf
    cargo build --release --workspace --examples
    python benches/peers/teacher.py [MODEL.gguf] [--dtypes int8,gguf,f32] [--batches 1,8,32] [--rounds 3]

Without a model it is the one that the programs know as smollm2-135m-instruct, from their cache. transformers
expands a GGUF file to float32 and decodes with its key-value cache, prompts padded on the left. Both sides get
the same prompts in ids, answer greedily, and write exactly as many tokens; reading the prompts is in the time.
Printed are tokens a second, the median over the rounds, and the median ratio, ours over theirs.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import time

CACHE = pathlib.Path(
    os.environ.get("FASTDRAFT_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "fastdraft"
)


def theirs(path, threads, jobs, new_tokens):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    path = pathlib.Path(path)
    if path.is_dir():
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.eval()
    # Without an end token every answer becomes as long as every other.
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    settings = dict(do_sample=False, min_new_tokens=new_tokens, max_new_tokens=new_tokens)

    def answer(prompts):
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
        return model.generate(ids, attention_mask=mask, **settings)[:, width:].tolist()

    found = []
    with torch.inference_mode():
        for batch, prompts in jobs:
            model.generate(torch.tensor([prompts[0]]), do_sample=False, max_new_tokens=2)
            start = time.perf_counter()
            answers = [one for at in range(0, len(prompts), batch) for one in answer(prompts[at : at + batch])]
            seconds = time.perf_counter() - start
            found.append((sum(map(len, answers)) / seconds, answers))
    return found


def ours(program, target, dtype, threads, args):
    command = [program, "--target", target, "--dtype", dtype, "--json", "--batches", args.batches]
    command += ["--answers", str(args.answers), "--new-tokens", str(args.new_tokens), "--prompts", args.prompts]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    return json.loads(subprocess.check_output(command, env=environment))


def agreement(ours, theirs):
    """Mean share of an answer's tokens before the first that differs."""
    shares = []
    for a, b in zip(ours, theirs):
        same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), len(a))
        shares.append(same / len(a))
    return statistics.mean(shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--dtypes", default="int8,gguf,f32")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompts", default="assets/prompts/instructions.jsonl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--program", default="target/release/examples/teacher_rate")
    args = parser.parse_args()
    target = args.model or "smollm2-135m-instruct"
    dtypes = args.dtypes.split(",")
    batches = [int(batch) for batch in args.batches.split(",")]
    spawn = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(args.rounds):
        mine = {dtype: ours(args.program, target, dtype, args.threads, args) for dtype in dtypes}
        prompts = mine[dtypes[0]]["prompts"]
        jobs = [(batch, prompts[: max(batch, args.answers)]) for batch in batches]
        # By now our programs have fetched a model that was not there.
        path = args.model or next(str(one) for one in sorted(CACHE.rglob("*.gguf")) if "SmolLM2" in one.name)
        with spawn.Pool(1) as pool:
            rounds.append((mine, pool.apply(theirs, (path, args.threads, jobs, args.new_tokens))))
    print(f"{args.rounds} rounds, {args.threads} threads, {args.new_tokens} tokens an answer; transformers in float32")
    print("dtype  batch  ours tokens/s  transformers tokens/s  ratio (least to most)  same beginning")
    for dtype in dtypes:
        for at, batch in enumerate(batches):
            mine = [one[dtype]["runs"][at]["tokens_per_second"] for one, _ in rounds]
            other = [one[at][0] for _, one in rounds]
            ratios = [a / b for a, b in zip(mine, other)]
            same = agreement(rounds[0][0][dtype]["runs"][at]["answers"], rounds[0][1][at][1])
            print(
                f"{dtype:<5}  {batch:>5}  {statistics.median(mine):>13.1f}  {statistics.median(other):>21.1f}"
                f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}){same:>15.0%}"
            )


if __name__ == "__main__":
    main()
