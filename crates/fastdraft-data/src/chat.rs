//! Conversations in the form a model was trained on.

use std::io::{self, Write};

use minijinja::{Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::{DataError, MaskedTokens, Tokenizer};

const NAME: &str = "chat";
/// Steps a template may take, some ten thousand times what a long conversation needs.
const FUEL: u64 = 20_000_000;
/// Text a template may produce besides that of the messages.
const OUTPUT: usize = 16 << 20;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A turn by anyone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }

    /// Instructions for the whole conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// A turn by the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// A turn by the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// A model's Jinja chat template.
///
/// ```
/// use fastdraft_data::{ChatTemplate, Message};
///
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
///               {% if add_generation_prompt %}<assistant>{% endif %}";
/// let template = ChatTemplate::new(source, None, None)?;
/// assert_eq!(template.render(&[Message::user("Hi")], true)?, "<user>Hi<assistant>");
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Parses a template; `bos` and `eos` are what it sees as `bos_token` and `eos_token`.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] when it does not parse.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, DataError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(template_error)?;
        Ok(Self {
            environment,
            source: source.to_owned(),
            bos: bos.map(str::to_owned),
            eos: eos.map(str::to_owned),
        })
    }

    /// The template text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation, with the beginning of the next assistant turn if asked for.
    ///
    /// # Errors
    ///
    /// [`DataError::Template`] when the template raises an exception, does something that the
    /// engine does not support, or does not come to an end within bounds.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        // Undefined, as opposed to none, is what templates test for.
        let token = |text: &Option<String>| text.clone().map_or(Value::UNDEFINED, Value::from);
        let context = minijinja::context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => token(&self.bos),
            eos_token => token(&self.eos),
        };
        let given: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut text = Bounded {
            bytes: Vec::new(),
            limit: given.saturating_mul(4).saturating_add(OUTPUT),
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(context, &mut text).map(drop))
            .map_err(template_error)?;
        String::from_utf8(text.bytes).map_err(|error| DataError::Template {
            reason: error.to_string(),
        })
    }

    /// Renders a conversation and turns it into ids.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, DataError> {
        tokenizer.encode(&self.render(messages, add_generation_prompt)?, true)
    }

    /// Ids of a conversation with the assistant's answers marked, closing token included.
    ///
    /// An answer is what follows the generation prompt. Prompt and answer are turned into ids
    /// separately, as they are when a model generates, so the ids before the first answer equal
    /// those of [`encode`](Self::encode) with a generation prompt.
    ///
    /// # Errors
    ///
    /// [`DataError::TemplateRewrites`] when a prompt is not the beginning of the whole text,
    /// [`DataError::Mask`] when there is no answer or nothing else, and what
    /// [`encode`](Self::encode) returns.
    pub fn encode_with_mask(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<MaskedTokens, DataError> {
        let whole = self.render(messages, false)?;
        let (mut ids, mut mask, mut done) = (Vec::new(), Vec::new(), 0);
        for (index, _) in messages
            .iter()
            .enumerate()
            .filter(|(_, message)| message.role == "assistant")
        {
            let prompt = self.render(&messages[..index], true)?;
            let answered = self.render(&messages[..=index], false)?;
            if prompt.len() < done
                || !answered.starts_with(&prompt)
                || !whole.starts_with(&answered)
            {
                return Err(DataError::TemplateRewrites { message: index });
            }
            let (start, end) = (prompt.len(), answered.len());
            ids.extend(tokenizer.encode(&whole[done..start], true)?);
            mask.resize(ids.len(), false);
            let answer = tokenizer.encode(&whole[start..end], true)?;
            // What a template puts after the closing token is never generated.
            let closed = answer
                .iter()
                .rposition(|&id| tokenizer.is_special(id))
                .map_or(answer.len(), |last| last + 1);
            mask.resize(ids.len() + closed, true);
            ids.extend(answer);
            mask.resize(ids.len(), false);
            done = end;
        }
        ids.extend(tokenizer.encode(&whole[done..], true)?);
        mask.resize(ids.len(), false);
        MaskedTokens::new(ids, mask)
    }
}

/// Text that must not grow without end.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            let reason = format!("the template writes more than {} bytes", self.limit);
            return Err(io::Error::other(reason));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn template_error(error: Error) -> DataError {
    DataError::Template {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_reach_the_caller() {
        let template =
            ChatTemplate::new("{{ raise_exception('roles must alternate') }}", None, None).unwrap();
        let error = template.render(&[], false).unwrap_err();
        assert!(
            error.to_string().contains("roles must alternate"),
            "{error}"
        );
    }

    #[test]
    fn blocks_are_trimmed_and_python_methods_work() {
        let source = "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m['content'].strip() }};\n  {% endif %}\n{% endfor %}";
        let template = ChatTemplate::new(source, None, None).unwrap();
        assert_eq!(
            template.render(&[Message::user(" a ")], false).unwrap(),
            "a;\n"
        );
    }

    #[test]
    fn begin_and_end_tokens_are_visible() {
        let source = "{% if bos_token is defined %}{{ bos_token }}{% endif %}x{{ eos_token }}";
        let with = ChatTemplate::new(source, Some("<s>"), Some("</s>")).unwrap();
        assert_eq!(with.render(&[], false).unwrap(), "<s>x</s>");
        let without = ChatTemplate::new(source, None, None).unwrap();
        assert_eq!(without.render(&[], false).unwrap(), "x");
    }

    #[test]
    fn bad_syntax_is_an_error() {
        assert!(ChatTemplate::new("{% for %}", None, None).is_err());
    }
}
