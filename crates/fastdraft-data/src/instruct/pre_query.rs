//! What stands before a user's words in a chat template, and what ends them.

use crate::{ChatTemplate, DataError, Message, Tokenizer};

/// Words that no template has a reason to change, of different lengths.
const SENTINELS: [&str; 2] = ["kXq7Instruction0", "Zw3"];

/// The text around a user's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreQuery {
    /// Everything up to the user's first word: what a model continues with an instruction.
    pub prefix: String,
    /// What follows the user's last word: a token where the template has one.
    pub end: String,
}

impl PreQuery {
    /// Finds the text around a user's turn by rendering turns of known words.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] when the template fails, changes or repeats the words, or puts
    /// nothing after them.
    pub fn find(
        template: &ChatTemplate,
        tokenizer: &Tokenizer,
        system: Option<&str>,
    ) -> Result<Self, DataError> {
        for generation_prompt in [false, true] {
            let [first, second] =
                SENTINELS.map(|words| around(template, system, words, generation_prompt));
            let (prefix, suffix) = first?;
            if second? != (prefix.clone(), suffix.clone()) {
                return Err(bad("the text around a user's turn depends on its words"));
            }
            if suffix.trim().is_empty() {
                continue;
            }
            let first_id = tokenizer.encode(&suffix, true)?.first().copied();
            let special = first_id
                .filter(|&id| tokenizer.is_special(id))
                .and_then(|id| tokenizer.token(id));
            let end = special.unwrap_or_else(|| suffix.trim().to_owned());
            return Ok(Self { prefix, end });
        }
        Err(bad("nothing follows a user's words"))
    }
}

fn around(
    template: &ChatTemplate,
    system: Option<&str>,
    words: &str,
    generation_prompt: bool,
) -> Result<(String, String), DataError> {
    let mut messages: Vec<Message> = system.map(Message::system).into_iter().collect();
    messages.push(Message::user(words));
    let text = template.render(&messages, generation_prompt)?;
    match text.split(words).collect::<Vec<_>>().as_slice() {
        [prefix, suffix] => Ok(((*prefix).to_owned(), (*suffix).to_owned())),
        parts => Err(bad(format!(
            "a user's words come {} times, not once",
            parts.len() - 1
        ))),
    }
}

fn bad(reason: impl Into<String>) -> DataError {
    DataError::Template {
        reason: reason.into(),
    }
}
