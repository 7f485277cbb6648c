"""Ids of llama.cpp for a SentencePiece vocabulary, as a reference for the tests.

    sentence_piece.py gguf tokenizer.model OUT.gguf VOCABULARY.json     needs: gguf
    sentence_piece.py ids OUT.gguf VOCABULARY.json REFERENCE.json TEXT.jsonl[.gz]...
                                                                        needs: llama_cpp

Then `FASTDRAFT_SENTENCE_PIECE=REFERENCE.json cargo test -p fastdraft-data --test sentence_piece`.
"""

import gzip
import json
import struct
import sys


def pieces(data):
    """The pieces of a SentencePiece model file: field 1 of its protocol buffer."""

    def varint(at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    def fields(at, end):
        while at < end:
            key, at = varint(at)
            kind = key & 7
            if kind == 0:
                value, at = varint(at)
            elif kind == 1:
                value, at = data[at : at + 8], at + 8
            elif kind == 2:
                size, at = varint(at)
                value, at = (at, at + size), at + size
            else:
                value, at = data[at : at + 4], at + 4
            yield key >> 3, value

    for number, span in fields(0, len(data)):
        if number != 1:
            continue
        text, score, kind = "", 0.0, 1
        for inner, value in fields(*span):
            if inner == 1:
                text = data[value[0] : value[1]].decode()
            elif inner == 2:
                (score,) = struct.unpack("<f", value)
            elif inner == 3:
                kind = value
        yield text, score, kind


def write_gguf(model, out, vocabulary):
    import gguf

    rows = list(pieces(open(model, "rb").read()))
    tokens, scores, types = zip(*rows)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(types))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_context_length(128)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open(vocabulary, "w") as file:
        json.dump({"tokens": tokens, "scores": scores, "token_types": types}, file)


def texts(paths):
    for path in paths:
        opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
        with opened as file:
            for line in file:
                row = json.loads(line)
                text = row.get("text") or row.get("prompt") or ""
                yield text[:3000]
    yield from [
        "", " ", "  ", "a", " a", "\n", "\t\t", "a\n\n b", "é", "日本語", "👩‍👩‍👧", "\x00\x01",
        "aaaaaaaaaaaaaaaaaaaaaaaaa", " " * 33, "= " * 20, "----------------------", "e\u0301",
        "<s>", "</s>", "<unk>", "<0x0A>", "a</s>b", "\u2581", "x\u2581\u2581y", "1234567890" * 5,
    ]


def write_ids(model, vocabulary, out, paths):
    import llama_cpp

    llama = llama_cpp.Llama(model, vocab_only=True, verbose=False)
    reference = json.load(open(vocabulary))
    cases = []
    for text in texts(paths):
        data = text.encode()
        for special in (False, True):
            ids = llama.tokenize(data, add_bos=False, special=special)
            cases.append({"text": text, "special": special, "ids": ids})
    reference["cases"] = cases
    with open(out, "w") as file:
        json.dump(reference, file)
    print(len(cases), "cases")


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "gguf":
        write_gguf(*rest)
    else:
        write_ids(*rest[:3], rest[3:])
