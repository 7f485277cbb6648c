//! Tokenizers built from a vocabulary, saved, read back and streamed.

mod common;

use common::{END, HELLO, SPACE_HELLO, TOOL, TWELVE, tokenizer, vocabulary};
use fastdraft_data::{BpeVocabulary, DataError, Tokenizer};
use proptest::prelude::*;

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn merges_apply_inside_words() {
    let ids = tokenizer().encode("hello hello!", false).unwrap();
    assert_eq!(ids, [HELLO, SPACE_HELLO, u32::from(b'!')]);
}

#[test]
fn splitting_rule_decides_about_digits() {
    assert_eq!(tokenizer().encode("12", false).unwrap(), bytes("12"));
    for pre in ["gpt-2", "default"] {
        let tokenizer = Tokenizer::from_bpe(&vocabulary(pre)).unwrap();
        assert_eq!(tokenizer.encode("12", false).unwrap(), [TWELVE]);
    }
}

#[test]
fn llama_3_keeps_three_digits_together_and_qwen2_one() {
    let encode = |pre| {
        let tokenizer = Tokenizer::from_bpe(&vocabulary(pre)).unwrap();
        tokenizer.encode("1212 hello", false).unwrap()
    };
    let (one, two) = (u32::from(b'1'), u32::from(b'2'));
    assert_eq!(encode("gpt-2"), [TWELVE, TWELVE, SPACE_HELLO]);
    assert_eq!(encode("llama-bpe"), [TWELVE, one, two, SPACE_HELLO]);
    assert_eq!(encode("qwen2"), [one, two, one, two, SPACE_HELLO]);
}

#[test]
fn llama_3_takes_a_whole_token_without_merges() {
    let encode = |pre| {
        let mut vocabulary = vocabulary(pre);
        vocabulary.tokens.push("abc".into());
        vocabulary.token_types.push(1);
        let tokenizer = Tokenizer::from_bpe(&vocabulary).unwrap();
        tokenizer.encode("abc", false).unwrap()
    };
    assert_eq!(encode("llama-bpe"), [266]);
    assert_eq!(encode("qwen2"), bytes("abc"));
}

#[test]
fn special_tokens_only_on_request() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.encode("<|end|>", true).unwrap(), [END]);
    assert_eq!(
        tokenizer.encode("<|end|>", false).unwrap(),
        bytes("<|end|>")
    );
    assert_eq!(tokenizer.encode("[tool]", false).unwrap(), [TOOL]);
    assert!(tokenizer.is_special(END) && !tokenizer.is_special(TOOL));
    assert_eq!(tokenizer.decode(&[HELLO, END], true).unwrap(), "hello");
    assert_eq!(
        tokenizer.decode(&[HELLO, END], false).unwrap(),
        "hello<|end|>"
    );
}

#[test]
fn lookups() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.vocabulary_size(), 266);
    assert_eq!(tokenizer.eos_id(), Some(END));
    assert_eq!(tokenizer.token(HELLO).as_deref(), Some("hello"));
    assert_eq!(tokenizer.token_id("hello"), Some(HELLO));
    assert_eq!(tokenizer.token(9999), None);
    assert_eq!(tokenizer.decode(&[9999], false).unwrap(), "");
}

#[test]
fn batch_equals_one_by_one() {
    let tokenizer = tokenizer();
    let texts = ["hello", "", "é<|end|>"];
    let batch = tokenizer.encode_batch(&texts, true).unwrap();
    for (text, ids) in texts.iter().zip(batch) {
        assert_eq!(tokenizer.encode(text, true).unwrap(), ids);
    }
}

#[test]
fn saved_tokenizer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let before = tokenizer();
    before.save(folder.path()).unwrap();
    let config = r#"{"eos_token": {"content": "<|end|>"}, "bos_token": "<|user|>"}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let after = Tokenizer::from_file(folder.path()).unwrap();
    assert_eq!(after.fingerprint(), before.fingerprint());
    assert_eq!(
        (after.eos_id(), after.bos_id()),
        (Some(END), Some(common::USER))
    );
    let text = "hello [tool] 12 é<|end|>";
    for special in [false, true] {
        assert_eq!(
            after.encode(text, special).unwrap(),
            before.encode(text, special).unwrap()
        );
    }
    let bytes = std::fs::read(folder.path().join("tokenizer.json")).unwrap();
    let mut bare = Tokenizer::from_bytes(&bytes).unwrap();
    assert_eq!(
        (bare.fingerprint(), bare.eos_id()),
        (before.fingerprint(), None)
    );
    bare.set_eos_id(Some(END));
    assert_eq!(bare.eos_id(), Some(END));
}

#[test]
fn fingerprint_sees_texts_order_and_flags() {
    let base = vocabulary("smollm");
    let original = Tokenizer::from_bpe(&base).unwrap().fingerprint();
    let changes: [fn(&mut BpeVocabulary); 3] = [
        |v| v.tokens[265] = "[other]".into(),
        |v| v.tokens.swap(0, 1),
        |v| v.token_types[265] = 3,
    ];
    for change in changes {
        let mut other = base.clone();
        change(&mut other);
        assert_ne!(Tokenizer::from_bpe(&other).unwrap().fingerprint(), original);
    }
}

#[test]
fn unusable_vocabularies_are_named() {
    let unknown = Tokenizer::from_bpe(&vocabulary("tekken")).unwrap_err();
    assert!(unknown.to_string().contains("`tekken`"), "{unknown}");
    let mut twice = vocabulary("smollm");
    twice.tokens[3] = twice.tokens[2].clone();
    let error = Tokenizer::from_bpe(&twice).unwrap_err();
    assert!(matches!(
        error,
        DataError::DuplicateToken {
            first: 2,
            second: 3,
            ..
        }
    ));
    let mut types = vocabulary("smollm");
    types.token_types.pop();
    assert!(Tokenizer::from_bpe(&types).is_err());
    let mut merge = vocabulary("smollm");
    merge.merges.push("nospace".into());
    assert!(Tokenizer::from_bpe(&merge).is_err());
    let mut end = vocabulary("smollm");
    end.eos_id = Some(266);
    assert!(Tokenizer::from_bpe(&end).is_err());
}

#[test]
fn unreadable_files_are_named() {
    let error = Tokenizer::from_file("/nowhere/tokenizer.json").unwrap_err();
    assert!(
        error.to_string().starts_with("/nowhere/tokenizer.json: "),
        "{error}"
    );
    assert!(Tokenizer::from_bytes(b"{}").is_err());
}

proptest! {
    #[test]
    fn text_survives(text in any::<String>()) {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }

    #[test]
    fn streamed_text_is_whole_characters(text in any::<String>()) {
        let tokenizer = tokenizer();
        let mut stream = tokenizer.stream();
        let mut out = String::new();
        for id in tokenizer.encode(&text, false).unwrap() {
            if let Some(piece) = stream.push(id).unwrap() {
                prop_assert!(!piece.is_empty());
                out.push_str(&piece);
                prop_assert!(text.starts_with(&out));
            }
        }
        out.extend(stream.finish().unwrap());
        prop_assert_eq!(out, text);
    }

    #[test]
    fn streaming_any_ids_equals_decoding(ids in prop::collection::vec(0u32..266, 0..40), skip: bool) {
        let tokenizer = tokenizer();
        let mut stream = tokenizer.stream_with(skip);
        let mut out = String::new();
        for &id in &ids {
            out.extend(stream.push(id).unwrap());
        }
        out.extend(stream.finish().unwrap());
        prop_assert_eq!(out, tokenizer.decode(&ids, skip).unwrap());
    }
}
