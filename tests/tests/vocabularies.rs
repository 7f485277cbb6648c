//! Tokenizers of GGUF files against the ids that llama.cpp's own tests expect.

use std::path::Path;

use fastdraft_train::target;

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// Vocabularies of Llama 2, Llama 3, Phi-3 and Qwen2, as llama.cpp names its files.
const FAMILIES: [&str; 4] = ["llama-spm", "llama-bpe", "phi-3", "qwen2"];

/// Needs the folder `vendor/llama.cpp/models` of the source distribution of llama-cpp-python;
/// see tests/peers/README.md.
#[test]
fn ids_are_those_of_llama_cpp() {
    let Some(folder) = std::env::var_os("FASTDRAFT_VOCABULARIES") else {
        return;
    };
    for family in FAMILIES {
        let file = Path::new(&folder).join(format!("ggml-vocab-{family}.gguf"));
        let read = |end: &str| {
            let path = file.with_extension(format!("gguf.{end}"));
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        };
        let (tokenizer, _) = target::tokenizer(&file).unwrap();
        let (texts, expected) = (read("inp"), read("out"));
        let mut cases = 0;
        for (text, line) in texts.split(SEPARATOR).zip(expected.lines()) {
            let expected: Vec<u32> = (line.split_whitespace())
                .map(|id| id.parse().unwrap())
                .collect();
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(ids, expected, "{family}: {text:?}");
            cases += 1;
        }
        println!(
            "{family}: {} tokens, {cases} texts alike",
            tokenizer.vocabulary_size()
        );
        assert!(cases > 40, "{family}: {cases} texts");
    }
}
