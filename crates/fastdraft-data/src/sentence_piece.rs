//! SentencePiece vocabularies as model files store them.

use std::collections::HashMap;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::DataError;
use crate::vocabulary::{
    TYPE_BYTE, TYPE_CONTROL, TYPE_UNKNOWN, TYPE_USER_DEFINED, check_ids, unique_ids,
};

/// What stands for a space inside tokens.
const SPACE: &str = "\u{2581}";

/// The parts of a SentencePiece BPE tokenizer as a GGUF file carries them, where
/// `tokenizer.ggml.model` is `llama`.
///
/// Text is merged best score first (Kudo and Richardson, "SentencePiece", arXiv 1808.06226,
/// section 3); characters without a token become bytes. A token whose parts are no tokens is
/// never made, which does not occur in vocabularies that were trained. A control or byte token is never the
/// outcome of a merge, whatever the text.
///
/// ```
/// use fastdraft_data::{SentencePieceVocabulary, Tokenizer};
///
/// let vocabulary = SentencePieceVocabulary {
///     tokens: ["<unk>", "</s>", "▁", "h", "i", "hi", "▁hi"].map(String::from).to_vec(),
///     scores: vec![0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -2.0],
///     token_types: vec![2, 3, 1, 1, 1, 1, 1],
///     unknown_id: Some(0),
///     eos_id: Some(1),
///     ..SentencePieceVocabulary::default()
/// };
/// let tokenizer = Tokenizer::from_sentence_piece(&vocabulary)?;
/// assert_eq!(tokenizer.encode("hi hi</s>", true)?, [6, 6, 1]);
/// assert_eq!(tokenizer.decode(&[6, 6, 1], true)?, "hi hi");
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SentencePieceVocabulary {
    /// Text of each id, with `▁` for a space.
    pub tokens: Vec<String>,
    /// Score of each id; pairs with the highest are merged first.
    pub scores: Vec<f32>,
    /// Kind of each id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    ///
    /// Empty means that all are normal.
    pub token_types: Vec<u32>,
    /// Token that begins a text.
    pub bos_id: Option<u32>,
    /// Token that ends a text.
    pub eos_id: Option<u32>,
    /// Token that stands for what the vocabulary cannot express.
    pub unknown_id: Option<u32>,
    /// Whether the model expects the begin token before every text.
    pub add_bos: bool,
    /// Whether a text, and text after a special token, begins as if with a space
    /// (`tokenizer.ggml.add_space_prefix`).
    pub add_space_prefix: bool,
    /// Whether special tokens other than unknown, begin and `<|endoftext|>` swallow white space
    /// after them, as those of Phi-3 do.
    pub strip_after_special: bool,
}

impl Default for SentencePieceVocabulary {
    /// No tokens; spaces are put before texts, as files that do not say mean it.
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            scores: Vec::new(),
            token_types: Vec::new(),
            bos_id: None,
            eos_id: None,
            unknown_id: None,
            add_bos: false,
            add_space_prefix: true,
            strip_after_special: false,
        }
    }
}

impl SentencePieceVocabulary {
    pub(crate) fn build(&self) -> Result<Inner, DataError> {
        self.check()?;
        let ids = unique_ids(&self.tokens)?;
        let merges = self.merges()?;
        let mut builder = BPE::builder()
            .vocab_and_merges(ids, merges)
            .byte_fallback(true)
            .fuse_unk(true);
        if let Some(unknown) = self.unknown_id {
            builder = builder.unk_token(self.tokens[unknown as usize].clone());
        }
        let model = builder.build().map_err(bad)?;
        let mut inner = Inner::new(model);
        let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
        let mut decoders: Vec<DecoderWrapper> = vec![
            Replace::new(SPACE, " ").map_err(bad)?.into(),
            ByteFallback::default().into(),
            Fuse::default().into(),
        ];
        if self.add_space_prefix {
            normalizers.push(Prepend::new(SPACE.to_owned()).into());
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        normalizers.push(Replace::new(" ", SPACE).map_err(bad)?.into());
        inner.with_normalizer(Some(Normalizers::new(normalizers)));
        inner.with_decoder(Some(Decoders::new(decoders)));
        inner.add_tokens(&self.added());
        Ok(inner)
    }

    fn check(&self) -> Result<(), DataError> {
        check_ids(
            &self.tokens,
            &self.token_types,
            [self.bos_id, self.eos_id, self.unknown_id],
        )?;
        let (tokens, scores) = (self.tokens.len(), self.scores.len());
        let usable = self.scores.iter().all(|score| !score.is_nan());
        if tokens != scores || !usable {
            return Err(DataError::Vocabulary {
                reason: format!("{tokens} tokens with {scores} scores, numbers: {usable}"),
            });
        }
        Ok(())
    }

    fn kind(&self, id: usize) -> u32 {
        self.token_types.get(id).copied().unwrap_or(1)
    }

    /// All pairs of tokens that make a token, best score first.
    fn merges(&self) -> Result<Vec<(String, String)>, DataError> {
        let text = |id: &usize| {
            !matches!(self.kind(*id), TYPE_UNKNOWN | TYPE_CONTROL | TYPE_BYTE)
                && !self.tokens[*id].is_empty()
        };
        let ids: HashMap<&str, usize> = (0..self.tokens.len())
            .filter(text)
            .map(|id| (self.tokens[id].as_str(), id))
            .collect();
        let (mut pairs, mut budget) = (Vec::new(), MOST_SPLITS);
        for id in (0..self.tokens.len()).filter(text) {
            let token = self.tokens[id].as_str();
            for (at, _) in token.char_indices().skip(1) {
                budget = budget.checked_sub(token.len()).ok_or_else(|| {
                    bad("the tokens are too long to be those of a SentencePiece vocabulary")
                })?;
                let (left, right) = token.split_at(at);
                if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                    pairs.push((self.scores[id], left, right));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let owned = |id: usize| self.tokens[id].clone();
        Ok(pairs
            .into_iter()
            .map(|(_, left, right)| (owned(left), owned(right)))
            .collect())
    }

    fn added(&self) -> Vec<AddedToken> {
        let plain = [self.unknown_id, self.bos_id];
        (0u32..)
            .zip(&self.tokens)
            .filter(|(_, token)| !token.is_empty())
            .filter_map(|(id, token)| match self.kind(id as usize) {
                TYPE_CONTROL | TYPE_UNKNOWN => {
                    let strips = self.strip_after_special
                        && !plain.contains(&Some(id))
                        && token != "<|endoftext|>";
                    Some(AddedToken::from(token.as_str(), true).rstrip(strips))
                }
                TYPE_USER_DEFINED => {
                    Some(AddedToken::from(token.as_str(), false).normalized(false))
                }
                _ => None,
            })
            .collect()
    }
}

/// Bytes that may be looked at to find the merges; real vocabularies need some ten million.
const MOST_SPLITS: usize = 1 << 30;

fn bad(reason: impl std::fmt::Display) -> DataError {
    DataError::Vocabulary {
        reason: reason.to_string(),
    }
}
