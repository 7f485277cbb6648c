//! Text to ids and back.

use std::fs;
use std::path::Path;

use serde::de::IgnoredAny;
use tokenizers::Tokenizer as Inner;

use crate::hash::Fnv;
use crate::{DataError, atomic};

pub use crate::sentence_piece::SentencePieceVocabulary;
pub use crate::stream::DecodeStream;
pub use crate::vocabulary::BpeVocabulary;

/// A tokenizer, from a `tokenizer.json` or from the vocabulary in a model file.
#[derive(Clone)]
pub struct Tokenizer {
    parsing: Inner,
    // The library switches special-token parsing by mutation, so both settings are kept.
    literal: Inner,
    size: usize,
    fingerprint: u64,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    adds_bos: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("size", &self.size)
            .field("fingerprint", &format_args!("{:016x}", self.fingerprint))
            .field("bos_id", &self.bos_id)
            .field("eos_id", &self.eos_id)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Builds a tokenizer from a byte-level BPE vocabulary.
    ///
    /// Control tokens become special tokens; user-defined ones are found in every text.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownPreTokenizer`], [`DataError::DuplicateToken`] or
    /// [`DataError::Vocabulary`] when the vocabulary cannot be used.
    pub fn from_bpe(vocabulary: &BpeVocabulary) -> Result<Self, DataError> {
        let mut tokenizer = Self::wrap(vocabulary.build()?);
        tokenizer.bos_id = vocabulary.bos_id;
        tokenizer.eos_id = vocabulary.eos_id;
        tokenizer.adds_bos = vocabulary.add_bos;
        Ok(tokenizer)
    }

    /// Builds a tokenizer from a SentencePiece BPE vocabulary.
    ///
    /// # Errors
    ///
    /// [`DataError::DuplicateToken`] or [`DataError::Vocabulary`] when the vocabulary cannot be
    /// used.
    pub fn from_sentence_piece(vocabulary: &SentencePieceVocabulary) -> Result<Self, DataError> {
        let mut tokenizer = Self::wrap(vocabulary.build()?);
        tokenizer.bos_id = vocabulary.bos_id;
        tokenizer.eos_id = vocabulary.eos_id;
        tokenizer.adds_bos = vocabulary.add_bos;
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json`, or the one in a directory.
    ///
    /// In a directory the begin and end tokens are taken from `tokenizer_config.json` if present.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when a file cannot be read, [`DataError::TokenizerFormat`] when it is
    /// not a tokenizer.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        if !path.is_dir() {
            let bytes = fs::read(path).map_err(DataError::io(path))?;
            return Self::parse(&bytes, &path.display().to_string());
        }
        let mut tokenizer = Self::from_file(path.join("tokenizer.json"))?;
        let config = path.join("tokenizer_config.json");
        if config.is_file() {
            tokenizer.read_config(&config)?;
        }
        Ok(tokenizer)
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`DataError::TokenizerFormat`] when they are not a tokenizer.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, DataError> {
        Self::parse(bytes.as_ref(), "bytes")
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self, DataError> {
        let error = |reason: String| DataError::TokenizerFormat {
            origin: origin.to_owned(),
            reason,
        };
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|e| error(e.to_string()))?;
        // The library panics on some settings that are JSON but not what it expects.
        std::panic::catch_unwind(|| Inner::from_bytes(bytes))
            .map_err(|_| error("the tokenizers library cannot read it".into()))?
            .map(Self::wrap)
            .map_err(|e| error(e.to_string()))
    }

    fn wrap(mut parsing: Inner) -> Self {
        parsing.with_padding(None);
        // Without parameters this only removes truncation and cannot fail.
        let _ = parsing.with_truncation(None);
        parsing.set_encode_special_tokens(false);
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        let mut entries: Vec<(u32, String)> = parsing
            .get_vocab(true)
            .into_iter()
            .map(|(token, id)| (id, token))
            .collect();
        entries.sort_unstable();
        let added = parsing.get_added_tokens_decoder();
        let mut hash = Fnv::new();
        for (id, token) in &entries {
            hash.write(&id.to_le_bytes());
            hash.write(token.as_bytes());
            let special = added.get(id).is_some_and(|token| token.special);
            // 0xff never occurs in UTF-8, so the text cannot run into the next entry.
            hash.write(&[0xff, u8::from(special)]);
        }
        let size = entries.last().map_or(0, |(id, _)| *id as usize + 1);
        Self {
            parsing,
            literal,
            size,
            fingerprint: hash.finish(),
            bos_id: None,
            eos_id: None,
            adds_bos: false,
        }
    }

    fn read_config(&mut self, path: &Path) -> Result<(), DataError> {
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        let config: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| DataError::TokenizerFormat {
                origin: path.display().to_string(),
                reason: error.to_string(),
            })?;
        let id = |name: &str| {
            let value = config.get(name)?;
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            self.token_id(text)
        };
        (self.bos_id, self.eos_id) = (id("bos_token"), id("eos_token"));
        self.adds_bos = config
            .get("add_bos_token")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false);
        Ok(())
    }

    /// Turns text into ids, never adding a begin token.
    ///
    /// With `special`, special tokens written in the text become their ids; without it they are
    /// ordinary text.
    ///
    /// # Errors
    ///
    /// [`DataError::Encode`] when the tokenizer refuses the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, DataError> {
        self.pick(special)
            .encode_fast(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| DataError::Encode {
                bytes: text.len(),
                reason: error.to_string(),
            })
    }

    /// [`encode`](Self::encode) for many texts, on several cores.
    ///
    /// # Errors
    ///
    /// [`DataError::Encode`] when the tokenizer refuses a text.
    pub fn encode_batch<S: AsRef<str>>(
        &self,
        texts: &[S],
        special: bool,
    ) -> Result<Vec<Vec<u32>>, DataError> {
        let inputs: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let bytes = inputs.iter().map(|text| text.len()).sum();
        self.pick(special)
            .encode_batch_fast(inputs, false)
            .map(|all| all.iter().map(|one| one.get_ids().to_vec()).collect())
            .map_err(|error| DataError::Encode {
                bytes,
                reason: error.to_string(),
            })
    }

    const fn pick(&self, special: bool) -> &Inner {
        if special {
            &self.parsing
        } else {
            &self.literal
        }
    }

    /// Turns ids into text; ids outside the vocabulary add nothing.
    ///
    /// # Errors
    ///
    /// [`DataError::Decode`] when the tokenizer refuses the ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        self.parsing
            .decode(ids, skip_special)
            .map_err(|error| DataError::Decode {
                tokens: ids.len(),
                reason: error.to_string(),
            })
    }

    /// Decodes ids as they come, leaving special tokens out.
    #[must_use]
    pub fn stream(&self) -> DecodeStream<'_> {
        self.stream_with(true)
    }

    /// Decodes ids as they come, with a choice about special tokens.
    #[must_use]
    pub const fn stream_with(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream::new(self, skip_special)
    }

    /// The highest id plus one.
    #[must_use]
    pub const fn vocabulary_size(&self) -> usize {
        self.size
    }

    /// FNV-1a over ids, token texts and special flags, in the order of the ids.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Text of a token, in the tokenizer's own alphabet.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.parsing.id_to_token(id)
    }

    /// Id of a token, given in the tokenizer's own alphabet.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.parsing.token_to_id(token)
    }

    /// Whether an id is a special token.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.parsing
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .get(&id)
            .is_some_and(|token| token.special)
    }

    /// Token that begins a text, if known.
    #[must_use]
    pub const fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// Whether the model expects the begin token before every text.
    #[must_use]
    pub const fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Token that ends a text, if known.
    #[must_use]
    pub const fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// Sets the token that begins a text.
    pub const fn set_bos_id(&mut self, id: Option<u32>) {
        self.bos_id = id;
    }

    /// Sets the token that ends a text.
    pub const fn set_eos_id(&mut self, id: Option<u32>) {
        self.eos_id = id;
    }

    /// Writes a `tokenizer.json`, whole or not at all; a directory gets one inside.
    ///
    /// That format does not name the begin and end tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when the file cannot be written, [`DataError::TokenizerFormat`] when the
    /// tokenizer has no such form.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DataError> {
        let path = path.as_ref();
        if path.is_dir() {
            return self.save(path.join("tokenizer.json"));
        }
        let json = self
            .parsing
            .to_string(false)
            .map_err(|error| DataError::TokenizerFormat {
                origin: path.display().to_string(),
                reason: error.to_string(),
            })?;
        atomic::write(path, |file| {
            file.write_all(json.as_bytes()).map_err(DataError::io(path))
        })
    }
}
