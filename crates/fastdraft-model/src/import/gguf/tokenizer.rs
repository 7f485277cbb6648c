//! The tokenizer in the metadata.

use super::{GgufFile, corrupt};
use crate::error::ModelError;

/// Vocabulary and merges of the model's tokenizer, as the file has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufTokenizer {
    /// Kind of tokenizer: `gpt2` is byte-level BPE, `llama` is SentencePiece.
    pub model: String,
    /// Text of each token.
    pub tokens: Vec<String>,
    /// Pairs to merge, best first, each `left right`; empty unless the tokenizer is byte-level
    /// BPE.
    pub merges: Vec<String>,
    /// Score of each token; empty unless the tokenizer is SentencePiece.
    pub scores: Vec<f32>,
    /// Type of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<u32>,
    /// Name of the rule that splits text before merging, `default` where the file has none.
    pub pre: String,
    /// First token of a sequence.
    pub bos_id: Option<u32>,
    /// Token that ends a sequence.
    pub eos_id: Option<u32>,
    /// Token for text outside the vocabulary.
    pub unknown_id: Option<u32>,
    /// Whether [`bos_id`](Self::bos_id) is put before every text.
    pub add_bos: bool,
    /// Whether a text begins as if with a space; SentencePiece only.
    pub add_space_prefix: bool,
    /// Jinja template of a conversation.
    pub chat_template: Option<String>,
}

pub(super) fn read(file: &GgufFile) -> Result<GgufTokenizer, ModelError> {
    let key = "tokenizer.ggml.tokens";
    let tokens = file
        .strings(key)?
        .ok_or_else(|| corrupt(file.path(), format!("metadata `{key}` is missing")))?;
    let token_types = file
        .integers("tokenizer.ggml.token_type")?
        .unwrap_or_else(|| vec![1; tokens.len()]);
    if token_types.len() != tokens.len() {
        return Err(corrupt(
            file.path(),
            format!(
                "{} token types for {} tokens",
                token_types.len(),
                tokens.len()
            ),
        ));
    }
    let id = |name: &str| token_id(file, name, tokens.len());
    let (bos_id, eos_id, unknown_id) = (
        id("bos_token_id")?,
        id("eos_token_id")?,
        id("unknown_token_id")?,
    );
    let scores = file.floats("tokenizer.ggml.scores")?.unwrap_or_default();
    let model = file.string("tokenizer.ggml.model")?.unwrap_or("gpt2");
    if model == "llama" && scores.len() != tokens.len() {
        return Err(corrupt(
            file.path(),
            format!("{} token scores for {} tokens", scores.len(), tokens.len()),
        ));
    }
    Ok(GgufTokenizer {
        model: model.to_owned(),
        scores,
        add_space_prefix: file
            .flag("tokenizer.ggml.add_space_prefix")?
            .unwrap_or(true),
        merges: file.strings("tokenizer.ggml.merges")?.unwrap_or_default(),
        token_types,
        pre: file
            .string("tokenizer.ggml.pre")?
            .unwrap_or("default")
            .to_owned(),
        bos_id,
        eos_id,
        unknown_id,
        add_bos: file
            .flag("tokenizer.ggml.add_bos_token")?
            .unwrap_or(default_add_bos(file)?),
        chat_template: file.string("tokenizer.chat_template")?.map(str::to_owned),
        tokens,
    })
}

/// The SentencePiece kind starts every text with its first token unless told otherwise.
pub(super) fn default_add_bos(file: &GgufFile) -> Result<bool, ModelError> {
    Ok(file.string("tokenizer.ggml.model")? == Some("llama"))
}

/// A special token, which must be in the vocabulary.
pub(super) fn token_id(
    file: &GgufFile,
    name: &str,
    vocabulary_size: usize,
) -> Result<Option<u32>, ModelError> {
    let Some(id) = file.unsigned(&format!("tokenizer.ggml.{name}"))? else {
        return Ok(None);
    };
    match u32::try_from(id) {
        Ok(id) if (id as usize) < vocabulary_size => Ok(Some(id)),
        Ok(id) => Err(ModelError::TokenOutOfRange {
            id,
            vocabulary_size,
        }),
        Err(_) => Err(corrupt(
            file.path(),
            format!("`tokenizer.ggml.{name}` is {id}"),
        )),
    }
}
