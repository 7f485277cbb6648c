#!/usr/bin/env python3
"""What transformers makes of our Hugging Face directories.

    python transformers_load.py CONVERT MODEL_DIRECTORY...

CONVERT is the built example `convert`. Every full-vocabulary model must load without a warning, lack nothing, have
nothing left over and give the expected logits; a trimmed one must be refused by transformers.
"""
import logging
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file


class Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.found = []

    def emit(self, record):
        self.found.append(record.getMessage())


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)


def main():
    convert, *folders = sys.argv[1:]
    messages = Messages()
    transformers.utils.logging.add_handler(messages)
    failed = 0
    for folder in map(pathlib.Path, folders):
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([convert, folder, out, "hf"], check=True)
            messages.found.clear()
            model, info = load(out)
            expected = load_file(folder / "expected.safetensors")
            with torch.no_grad():
                logits = model.eval()(input_ids=expected["input_ids"]).logits
            worst = (logits - expected["logits"]).abs().max().item()
            left = {key: value for key, value in info.items() if value}
            bad = worst > 1e-4 or bool(left) or bool(messages.found)
            failed += bad
            print(f"{folder.name:22} {worst:.1e} {left or ''} {messages.found or 'no warning'}{' FAILED' if bad else ''}")
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([convert, folders[0], out, "hf", "trim"], check=True)
        try:
            load(out)
            failed += 1
            print("trimmed                loaded FAILED")
        except Exception as error:
            print("trimmed                refused:", str(error).strip().splitlines()[0])
    return failed


if __name__ == "__main__":
    sys.exit(main())
