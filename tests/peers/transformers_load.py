#!/usr/bin/env python3
"""What transformers makes of our Hugging Face directories.

    python transformers_load.py CONVERT MODEL_DIRECTORY...

CONVERT is the built example `convert`. Every full-vocabulary model must load without a warning, lack nothing, have
nothing left over, give the expected logits and generate the expected tokens; a tokenizer must arrive unchanged, and a
trimmed model must be refused by transformers.
"""
import logging
import pathlib
import shutil
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


def tokenizer(folder):
    """A byte-level tokenizer with a chat template."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(["speculative decoding is exact"], trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    outer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        chat_template="{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}")
    outer.save_pretrained(folder)
    return outer


def same_tokenizer(a, b):
    text, chat = "speculative decoding, exactly: ü 42", [{"role": "user", "content": "is it exact?"}]
    same = a(text).input_ids == b(text).input_ids and a.all_special_ids == b.all_special_ids
    return same and a.apply_chat_template(chat, tokenize=False) == b.apply_chat_template(chat, tokenize=False)


def main():
    convert, *folders = sys.argv[1:]
    messages = Messages()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.add_handler(messages)
    failed = 0
    for folder in map(pathlib.Path, folders):
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([convert, folder, out, "hf"], check=True)
            messages.found.clear()
            model, info = load(out)
            model.eval()
            expected = load_file(folder / "expected.safetensors")
            ids = expected["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits
                worst = (logits - expected["logits"]).abs().max().item()
                path = "not asked"
                if "greedy_ids" in expected:
                    greedy = expected["greedy_ids"]
                    found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                           min_new_tokens=greedy.shape[1], max_new_tokens=greedy.shape[1])
                    path = "same tokens" if found[:, ids.shape[1]:].equal(greedy) else "OTHER TOKENS"
            left = {key: value for key, value in info.items() if value}
            warned = [text for text in messages.found if "pad_token_id" not in text]
            bad = worst > 1e-4 or bool(left) or bool(warned) or path.isupper()
            failed += bad
            print(f"{folder.name:26} {worst:.1e} {path} {left or ''} {warned or 'no warning'}{' FAILED' if bad else ''}")
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as source:
        shutil.copytree(folders[0], source, dirs_exist_ok=True)
        before = tokenizer(source)
        messages.found.clear()
        subprocess.run([convert, source, out, "hf"], check=True)
        same = same_tokenizer(before, transformers.AutoTokenizer.from_pretrained(out))
        failed += not same or bool(messages.found)
        print(f"tokenizer                  {'same' if same else 'OTHER FAILED'} {messages.found or 'no warning'}")
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([convert, folders[0], out, "hf", "trim"], check=True)
        try:
            load(out)
            failed += 1
            print("trimmed                    loaded FAILED")
        except Exception as error:
            print("trimmed                    refused:", str(error).strip().splitlines()[0])
    return failed


if __name__ == "__main__":
    sys.exit(int(main() > 0))
