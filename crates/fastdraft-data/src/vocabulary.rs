//! Byte-level BPE vocabularies as model files store them.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Inner};

use crate::DataError;

pub(crate) const TYPE_UNKNOWN: u32 = 2;
pub(crate) const TYPE_CONTROL: u32 = 3;
pub(crate) const TYPE_USER_DEFINED: u32 = 4;
pub(crate) const TYPE_BYTE: u32 = 6;
/// Contractions, words, numbers, signs, ends of lines, spaces.
macro_rules! split {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    };
}

const KNOWN: &str = "smollm, default, gpt-2, llama-bpe, qwen2";
/// How Llama 3 and Qwen2 split text; they differ in how many digits stay together.
const LLAMA_3: &str = split!("{1,3}");
const QWEN_2: &str = split!("");

/// The parts of a byte-level BPE tokenizer as a GGUF file carries them.
///
/// ```
/// use fastdraft_data::{BpeVocabulary, Tokenizer};
///
/// let vocabulary = BpeVocabulary {
///     tokens: ["h", "i", "hi", "<end>"].map(String::from).to_vec(),
///     merges: vec!["h i".into()],
///     token_types: vec![1, 1, 1, 3],
///     pre: "gpt-2".into(),
///     eos_id: Some(3),
///     ..BpeVocabulary::default()
/// };
/// let tokenizer = Tokenizer::from_bpe(&vocabulary)?;
/// assert_eq!(tokenizer.encode("hi<end>", true)?, [2, 3]);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BpeVocabulary {
    /// Text of each id, in the byte-level alphabet for ordinary tokens.
    pub tokens: Vec<String>,
    /// Merges from first to last, each two token texts with a space between.
    pub merges: Vec<String>,
    /// Kind of each id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    ///
    /// Empty means that all are normal.
    pub token_types: Vec<u32>,
    /// Name of the text splitting rule (`tokenizer.ggml.pre`): `smollm`, `default`, `gpt-2`,
    /// `llama-bpe` (Llama 3) or `qwen2`.
    pub pre: String,
    /// Token that begins a text.
    pub bos_id: Option<u32>,
    /// Token that ends a text.
    pub eos_id: Option<u32>,
    /// Token that stands for what the vocabulary cannot express.
    pub unknown_id: Option<u32>,
    /// Whether the model expects the begin token before every text.
    pub add_bos: bool,
}

impl BpeVocabulary {
    pub(crate) fn build(&self) -> Result<Inner, DataError> {
        check_ids(
            &self.tokens,
            &self.token_types,
            [self.bos_id, self.eos_id, self.unknown_id],
        )?;
        let pre = self.pre_tokenizer()?;
        let mut builder = BPE::builder()
            .vocab_and_merges(unique_ids(&self.tokens)?, self.pairs()?)
            .ignore_merges(self.is_llama_3());
        if let Some(unknown) = self.unknown_id {
            builder = builder.unk_token(self.tokens[unknown as usize].clone());
        }
        let model = builder.build().map_err(|error| DataError::Vocabulary {
            reason: error.to_string(),
        })?;
        let mut inner = Inner::new(model);
        inner.with_pre_tokenizer(Some(pre));
        inner.with_decoder(Some(ByteLevel::default()));
        inner.add_tokens(&self.added());
        Ok(inner)
    }

    fn pairs(&self) -> Result<Vec<(String, String)>, DataError> {
        self.merges
            .iter()
            .enumerate()
            .map(|(index, merge)| {
                merge
                    .split_once(' ')
                    .map(|(left, right)| (left.to_owned(), right.to_owned()))
                    .ok_or_else(|| DataError::Vocabulary {
                        reason: format!("merge {index} has no space: `{merge}`"),
                    })
            })
            .collect()
    }

    /// Llama 3 takes a piece that is a token as it is, whatever the merges make of it.
    fn is_llama_3(&self) -> bool {
        matches!(self.pre.as_str(), "llama-bpe" | "llama3" | "llama-v3")
    }

    fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper, DataError> {
        let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
        match self.pre.as_str() {
            "smollm" => {
                let digits = PreTokenizerWrapper::Digits(Digits::new(true));
                Ok(Sequence::new(vec![digits, bytes]).into())
            }
            "default" | "gpt-2" => Ok(bytes),
            _ if self.is_llama_3() => split(LLAMA_3),
            "qwen2" | "deepseek-r1-qwen" => split(QWEN_2),
            other => Err(DataError::UnknownPreTokenizer {
                pre: other.to_owned(),
                known: KNOWN,
            }),
        }
    }

    fn added(&self) -> Vec<AddedToken> {
        self.tokens
            .iter()
            .zip(&self.token_types)
            .filter_map(|(token, kind)| match *kind {
                TYPE_CONTROL | TYPE_UNKNOWN => Some(AddedToken::from(token.as_str(), true)),
                TYPE_USER_DEFINED => {
                    Some(AddedToken::from(token.as_str(), false).normalized(false))
                }
                _ => None,
            })
            .collect()
    }
}

/// Pieces that `pattern` finds, then bytes.
fn split(pattern: &str) -> Result<PreTokenizerWrapper, DataError> {
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    let split = split.map_err(|error| DataError::Vocabulary {
        reason: error.to_string(),
    })?;
    let bytes = ByteLevel::new(false, true, false);
    Ok(Sequence::new(vec![split.into(), bytes.into()]).into())
}

/// Checks that there are tokens, a type for each or none, and that begin, end and unknown are
/// among them.
pub(crate) fn check_ids(
    tokens: &[String],
    types: &[u32],
    special: [Option<u32>; 3],
) -> Result<(), DataError> {
    let (tokens, types) = (tokens.len(), types.len());
    if tokens == 0 || (types != 0 && types != tokens) {
        return Err(DataError::Vocabulary {
            reason: format!("{tokens} tokens with {types} token types"),
        });
    }
    for (name, id) in ["bos", "eos", "unknown"].into_iter().zip(special) {
        if let Some(id) = id.filter(|&id| id as usize >= tokens) {
            return Err(DataError::Vocabulary {
                reason: format!("{name} id {id} is outside the {tokens} tokens"),
            });
        }
    }
    Ok(())
}

/// The id of each token's text.
pub(crate) fn unique_ids(tokens: &[String]) -> Result<Vocab, DataError> {
    let mut ids = Vocab::with_capacity(tokens.len());
    for (id, token) in (0..).zip(tokens) {
        if let Some(first) = ids.insert(token.clone(), id) {
            return Err(DataError::DuplicateToken {
                token: token.clone(),
                first,
                second: id,
            });
        }
    }
    Ok(ids)
}
