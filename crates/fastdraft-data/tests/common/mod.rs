//! A complete byte-level vocabulary small enough to reason about.
#![allow(dead_code, clippy::unwrap_used)]

use fastdraft_data::{BpeVocabulary, Tokenizer};

/// The character that stands for a byte in byte-level vocabularies.
pub fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let earlier = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + earlier).unwrap()
}

/// Ids 0 to 255 are the bytes; then merges, three special tokens and a user-defined one.
pub fn vocabulary(pre: &str) -> BpeVocabulary {
    let mut tokens: Vec<String> = (0..=255).map(|b| byte_char(b).to_string()).collect();
    let merges = ["h e", "l l", "he ll", "hell o", "1 2", "Ġ hello"];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let mut token_types = vec![1; tokens.len()];
    tokens.extend(["<|end|>", "<|user|>", "<|assistant|>", "[tool]"].map(String::from));
    token_types.extend([3, 3, 3, 4]);
    BpeVocabulary {
        tokens,
        merges: merges.map(String::from).to_vec(),
        token_types,
        pre: pre.into(),
        eos_id: Some(262),
        ..BpeVocabulary::default()
    }
}

pub const HELLO: u32 = 259;
pub const TWELVE: u32 = 260;
pub const SPACE_HELLO: u32 = 261;
pub const END: u32 = 262;
pub const USER: u32 = 263;
pub const ASSISTANT: u32 = 264;
pub const TOOL: u32 = 265;

pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_bpe(&vocabulary("smollm")).unwrap()
}
