//! Where an answer ends.

use crate::Tokenizer;

/// Tokens whose text is searched for a stop text; longer stop texts are found by more of them.
const TAIL: usize = 16;

/// The ends of a model's answers.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Each of these ends an answer.
    pub(super) tokens: &'a [u32],
}

impl Ending<'_> {
    /// Whether the last of these tokens ends an answer.
    pub(super) fn ends(&self, answer: &[u32], stop: &[String]) -> Result<bool, String> {
        let Some(last) = answer.last() else {
            return Ok(false);
        };
        if self.tokens.contains(last) {
            return Ok(true);
        }
        // Most stop texts are tokens, and then nothing needs to be decoded.
        let texts = || stop.iter().filter(|text| !text.is_empty());
        if texts().any(|text| self.tokenizer.token_id(text) == Some(*last)) {
            return Ok(true);
        }
        let Some(longest) = texts()
            .filter(|text| self.tokenizer.token_id(text).is_none())
            .map(String::len)
            .max()
        else {
            return Ok(false);
        };
        let tail = &answer[answer.len().saturating_sub(TAIL.max(longest + 1))..];
        let text = self.decode(tail)?;
        Ok(texts().any(|stop| text.contains(stop.as_str())))
    }

    /// The answer's text up to where it ends.
    pub(super) fn text(&self, answer: &[u32], stop: &[String]) -> Result<String, String> {
        let ended = answer.last().is_some_and(|last| {
            let stops = |text: &String| self.tokenizer.token_id(text) == Some(*last);
            self.tokens.contains(last) || stop.iter().any(stops)
        });
        let mut text = self.decode(&answer[..answer.len() - usize::from(ended)])?;
        let cut = stop
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| text.find(stop.as_str()))
            .min();
        text.truncate(cut.unwrap_or(text.len()));
        Ok(text)
    }

    fn decode(&self, ids: &[u32]) -> Result<String, String> {
        // Special tokens inside an answer are part of what the model said.
        self.tokenizer
            .decode(ids, false)
            .map_err(|error| error.to_string())
    }
}
