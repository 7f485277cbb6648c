#!/usr/bin/env python3
"""Log-probabilities of llama.cpp on our GGUF files against transformers' logits.

    python llama_cpp_agrees.py CONVERT MODEL_DIRECTORY...

CONVERT is the built example `convert`; a directory has `expected.safetensors`. Needs llama-cpp-python, gguf and
safetensors. Float32 must agree within 1e-4 and float16 within 1e-2; bfloat16 and Q8_0, whose activations llama.cpp
rounds too, are printed. What the writer refuses is named; a file llama.cpp does not load is a failure.
"""
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file

LIMITS = {"f32": 1e-4, "f16": 1e-2, "bf16": None, "q8_0": None}


def tokenizer(path):
    """A byte-level vocabulary of 260 tokens; the writer adds the unused rows."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(c) for c in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = ["<unk>", "<s>", "</s>", *letters, "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def main():
    convert, *folders = sys.argv[1:]
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        vocabulary, out = f"{tmp}/tokenizer.gguf", f"{tmp}/model.gguf"
        tokenizer(vocabulary)
        for folder in map(pathlib.Path, folders):
            expected = load_file(folder / "expected.safetensors")
            for kind, limit in LIMITS.items():
                made = subprocess.run([convert, folder, out, kind, vocabulary], capture_output=True, text=True)
                if made.returncode:
                    print(f"{folder.name:26} {kind:5} refused: {made.stderr.strip().splitlines()[-1][:160]}")
                    continue
                try:
                    model = llama_cpp.Llama(
                        out, n_ctx=256, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0)
                except ValueError as error:
                    failed += 1
                    print(f"{folder.name:26} {kind:5} {error} FAILED")
                    continue
                worst = 0.0
                for ids, logits in zip(expected["input_ids"], expected["logits"]):
                    model.reset()
                    model.eval(ids.tolist())
                    found = log_softmax(np.array(model.scores[: len(ids)], dtype=np.float64))
                    worst = max(worst, np.abs(found - log_softmax(logits.astype(np.float64))).max())
                bad = limit is not None and worst > limit
                failed += bad
                print(f"{folder.name:26} {kind:5} {worst:.1e}{' FAILED' if bad else ''}")
    return failed


if __name__ == "__main__":
    sys.exit(int(main() > 0))
