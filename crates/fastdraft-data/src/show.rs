//! Masked tokens for people to look at.

use crate::{DataError, MaskedTokens, Tokenizer};

/// How learned text is set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Green for learned text, dim for the rest.
    Ansi,
    /// `⟦` and `⟧` around learned text.
    Plain,
}

/// The text of masked tokens, special tokens included, with the learned parts set apart.
///
/// # Errors
///
/// [`DataError::Decode`] when the tokenizer refuses the ids.
pub fn render(
    tokenizer: &Tokenizer,
    tokens: &MaskedTokens,
    style: Style,
) -> Result<String, DataError> {
    let mut out = String::new();
    let mut start = 0;
    for run in tokens.mask.chunk_by(|a, b| a == b) {
        let end = start + run.len();
        let text = tokenizer.decode(&tokens.ids[start..end], false)?;
        let (open, close) = match (style, run[0]) {
            (Style::Ansi, true) => ("\x1b[32m", "\x1b[0m"),
            (Style::Ansi, false) => ("\x1b[2m", "\x1b[0m"),
            (Style::Plain, true) => ("⟦", "⟧"),
            (Style::Plain, false) => ("", ""),
        };
        out.push_str(open);
        out.push_str(&text);
        out.push_str(close);
        start = end;
    }
    Ok(out)
}
