//! SentencePiece vocabularies against a plain rendering of the algorithm and against llama.cpp.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use fastdraft_data::{DataError, SentencePieceVocabulary, Tokenizer};
use proptest::prelude::*;

/// Unknown, begin, end, 256 bytes, then pieces from the best score to the worst.
fn vocabulary(pieces: &[&str]) -> SentencePieceVocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    let mut token_types = vec![2, 3, 3];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    token_types.extend([6; 256]);
    let mut scores = vec![0.0; tokens.len()];
    for (rank, piece) in pieces.iter().enumerate() {
        tokens.push((*piece).to_owned());
        token_types.push(1);
        scores.push(-(rank as f32));
    }
    SentencePieceVocabulary {
        tokens,
        scores,
        token_types,
        unknown_id: Some(0),
        bos_id: Some(1),
        eos_id: Some(2),
        add_bos: true,
        ..SentencePieceVocabulary::default()
    }
}

const PIECES: [&str; 18] = [
    "ab",
    "▁a",
    "aa",
    "▁▁",
    "abab",
    "aaaa",
    "▁▁▁▁",
    "ba",
    "▁ab",
    "aab",
    "é",
    "▁",
    "a",
    "b",
    "s>",
    "<",
    "s",
    ">",
];

/// Merges the leftmost of the best pairs until there is none; what is left becomes bytes.
fn oracle(vocabulary: &SentencePieceVocabulary, text: &str) -> Vec<u32> {
    let ids: HashMap<&str, u32> = (0..)
        .zip(&vocabulary.tokens)
        .filter(|(id, _)| vocabulary.token_types[*id as usize] == 1)
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    if text.is_empty() {
        return Vec::new();
    }
    let text = format!("▁{}", text.replace(' ', "▁"));
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for at in 0..symbols.len().saturating_sub(1) {
            let Some(&id) = ids.get(symbols[at..=at + 1].concat().as_str()) else {
                continue;
            };
            let score = vocabulary.scores[id as usize];
            if best.is_none_or(|(other, _)| score > other) {
                best = Some((score, at));
            }
        }
        let Some((_, at)) = best else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    symbols
        .iter()
        .flat_map(|symbol| match ids.get(symbol.as_str()) {
            Some(&id) => vec![id],
            None => symbol.bytes().map(|byte| 3 + u32::from(byte)).collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn ids_are_those_of_the_plain_algorithm(text in "[ab é<>s▁x]{0,24}") {
        let vocabulary = vocabulary(&PIECES);
        let tokenizer = Tokenizer::from_sentence_piece(&vocabulary).unwrap();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(&ids, &oracle(&vocabulary, &text));
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text.replace('▁', " "));
        let mut stream = tokenizer.stream();
        let mut streamed = String::new();
        for &id in &ids {
            streamed.extend(stream.push(id).unwrap());
        }
        streamed.extend(stream.finish().unwrap());
        prop_assert_eq!(streamed, text.replace('▁', " "));
    }

    #[test]
    fn any_vocabulary_is_a_tokenizer_or_an_error(
        tokens in prop::collection::vec("[ab▁<>]{0,6}", 0..12),
        scores in prop::collection::vec(any::<f32>(), 0..12),
        kinds in prop::collection::vec(0u32..8, 0..12),
        unknown in prop::option::of(0u32..12),
    ) {
        let vocabulary = SentencePieceVocabulary {
            tokens,
            scores,
            token_types: kinds,
            unknown_id: unknown,
            ..SentencePieceVocabulary::default()
        };
        if let Ok(tokenizer) = Tokenizer::from_sentence_piece(&vocabulary) {
            let _ = tokenizer.encode("ab <a> b", true);
        }
    }
}

#[test]
fn special_tokens_and_spaces() {
    let mut vocabulary = vocabulary(&PIECES);
    let tokenizer = Tokenizer::from_sentence_piece(&vocabulary).unwrap();
    let id = |piece: &str| 259 + PIECES.iter().position(|p| *p == piece).unwrap() as u32;
    assert!(tokenizer.adds_bos());
    assert_eq!(
        tokenizer.encode("a</s>b", true).unwrap(),
        [id("▁a"), 2, id("▁"), id("b")]
    );
    let literal = tokenizer.encode("<s>", false).unwrap();
    assert!(!literal.contains(&1), "{literal:?}");
    vocabulary.strip_after_special = true;
    vocabulary.add_space_prefix = false;
    let tokenizer = Tokenizer::from_sentence_piece(&vocabulary).unwrap();
    assert_eq!(
        tokenizer.encode("a</s>\n b", true).unwrap(),
        [id("a"), 2, id("b")]
    );
    assert_eq!(
        tokenizer.encode("<s> b", true).unwrap(),
        [1, id("▁"), id("b")]
    );
}

#[test]
fn contradictions_are_errors() {
    let mut scores = vocabulary(&PIECES);
    scores.scores.pop();
    let mut doubled = vocabulary(&["a", "a"]);
    let mut nan = vocabulary(&PIECES);
    nan.scores[270] = f32::NAN;
    let mut outside = vocabulary(&PIECES);
    outside.eos_id = Some(9999);
    for bad in [&scores, &nan, &outside] {
        let error = Tokenizer::from_sentence_piece(bad).unwrap_err();
        assert!(matches!(error, DataError::Vocabulary { .. }), "{error}");
    }
    let error = Tokenizer::from_sentence_piece(&doubled).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::DuplicateToken {
                first: 259,
                second: 260,
                ..
            }
        ),
        "{error}"
    );
    doubled.tokens.truncate(1);
    assert!(Tokenizer::from_sentence_piece(&doubled).is_err());
    let long = "x".repeat(50_000);
    let error = Tokenizer::from_sentence_piece(&vocabulary(&[long.as_str()])).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[derive(serde::Deserialize)]
struct Reference {
    tokens: Vec<String>,
    scores: Vec<f32>,
    token_types: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    special: bool,
    ids: Vec<u32>,
}

/// The reference is made by `benches/peers/sentence_piece.py`; without it there is nothing to do.
#[test]
fn ids_are_those_of_llama_cpp() {
    let Some(path) = std::env::var_os("FASTDRAFT_SENTENCE_PIECE") else {
        return;
    };
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vocabulary = SentencePieceVocabulary {
        tokens: reference.tokens,
        scores: reference.scores,
        token_types: reference.token_types,
        unknown_id: Some(0),
        bos_id: Some(1),
        eos_id: Some(2),
        ..SentencePieceVocabulary::default()
    };
    let tokenizer = Tokenizer::from_sentence_piece(&vocabulary).unwrap();
    let mut different = 0;
    for case in &reference.cases {
        let ids = tokenizer.encode(&case.text, case.special).unwrap();
        if ids != case.ids {
            different += 1;
            let at = ids
                .iter()
                .zip(&case.ids)
                .take_while(|(a, b)| a == b)
                .count();
            let shown = |ids: &[u32]| -> Vec<_> {
                let ids = ids.iter().skip(at).take(6);
                ids.map(|&id| tokenizer.token(id)).collect()
            };
            eprintln!(
                "special {}: {:?} not {:?}",
                case.special,
                shown(&ids),
                shown(&case.ids)
            );
        }
    }
    assert_eq!(different, 0, "of {}", reference.cases.len());
}
