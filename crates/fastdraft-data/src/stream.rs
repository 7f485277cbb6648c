//! Decoding while tokens are still coming.

use crate::{DataError, Tokenizer};

/// Turns a stream of ids into text that never ends inside a character.
///
/// ```
/// # use fastdraft_data::{BpeVocabulary, Tokenizer};
/// # let vocabulary = BpeVocabulary {
/// #     tokens: ["Ã", "©"].map(String::from).to_vec(),
/// #     pre: "gpt-2".into(),
/// #     ..BpeVocabulary::default()
/// # };
/// # let tokenizer = Tokenizer::from_bpe(&vocabulary)?;
/// // The two tokens are the two bytes of one character.
/// let mut stream = tokenizer.stream();
/// assert_eq!(stream.push(0)?, None);
/// assert_eq!(stream.push(1)?.as_deref(), Some("é"));
/// assert_eq!(stream.finish()?, None);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    // Already emitted ids stay as context: some decoders treat the first token differently.
    ids: Vec<u32>,
    context: usize,
    context_text: String,
}

impl<'a> DecodeStream<'a> {
    pub(crate) const fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self {
            tokenizer,
            skip_special,
            ids: Vec::new(),
            context: 0,
            context_text: String::new(),
        }
    }

    /// Adds a token and returns the text that became complete with it.
    ///
    /// # Errors
    ///
    /// [`DataError::Decode`] when the tokenizer refuses the ids.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, DataError> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) || text.len() <= self.context_text.len() {
            return Ok(None);
        }
        let new = self.after_context(&text)?;
        self.ids.drain(..self.context);
        self.context = self.ids.len();
        self.context_text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(Some(new))
    }

    /// Returns what is left, with a replacement character for a half one.
    ///
    /// # Errors
    ///
    /// [`DataError::Decode`] when the tokenizer refuses the ids.
    pub fn finish(self) -> Result<Option<String>, DataError> {
        let text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        let rest = self.after_context(&text)?;
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    fn after_context(&self, text: &str) -> Result<String, DataError> {
        text.strip_prefix(&self.context_text)
            .map(str::to_owned)
            .ok_or_else(|| DataError::Decode {
                tokens: self.ids.len(),
                reason: format!("`{}` is no longer the beginning", self.context_text),
            })
    }
}
