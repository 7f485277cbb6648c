//! Requests and replies of OpenAI-compatible servers.

use serde_json::{Map, Value, json};

use super::{Reply, Request, StopReason};

/// Which endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/chat/completions`: the server applies the chat template.
    Chat,
    /// `/completions`: the text is sent with the chat template applied.
    Completions,
}

impl Api {
    /// The endpoint for a request: no chat endpoint continues bare text.
    pub(super) const fn serving(self, request: &Request) -> Self {
        if request.messages.is_empty() {
            Self::Completions
        } else {
            self
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
        }
    }

    /// The body of a request; `extra` fields come last and win.
    pub(super) fn body(self, model: &str, request: &Request, extra: &Map<String, Value>) -> Value {
        let sampling = &request.sampling;
        // The shortest text of the number, not its neighbour in double precision.
        let number = |value: f32| value.to_string().parse::<f64>().unwrap_or(value.into());
        let mut body = Map::new();
        body.insert("model".into(), model.into());
        match self {
            Self::Chat => body.insert("messages".into(), json!(request.messages)),
            Self::Completions => body.insert("prompt".into(), json!(request.text)),
        };
        body.insert("temperature".into(), number(sampling.temperature).into());
        body.insert("max_tokens".into(), sampling.max_tokens.into());
        body.insert("stream".into(), false.into());
        if let Some(top_p) = sampling.top_p {
            body.insert("top_p".into(), number(top_p).into());
        }
        if let Some(seed) = sampling.seed {
            body.insert("seed".into(), seed.into());
        }
        if !request.stop.is_empty() {
            body.insert("stop".into(), json!(request.stop));
        }
        body.extend(extra.clone());
        Value::Object(body)
    }

    /// The reply in the body of a response.
    pub(super) fn parse(self, body: &[u8]) -> Result<Reply, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
        let Some(choice) = value.pointer("/choices/0") else {
            return Err(format!("no choices: {}", shorten(&value.to_string())));
        };
        let text = match self {
            Self::Chat => choice.pointer("/message/content"),
            Self::Completions => choice.get("text"),
        };
        let Some(text) = text.and_then(Value::as_str) else {
            return Err(format!("no text: {}", shorten(&choice.to_string())));
        };
        let stop = match choice.get("finish_reason").and_then(Value::as_str) {
            Some("stop") => StopReason::Stop,
            Some("length") => StopReason::Length,
            _ => StopReason::Other,
        };
        let prompt = choice
            .get("prompt_token_ids")
            .or_else(|| value.get("prompt_token_ids"));
        Ok(Reply {
            text: text.to_owned(),
            stop,
            prompt_ids: prompt.and_then(ids),
            answer_ids: choice.get("token_ids").and_then(ids),
        })
    }
}

/// Ids, where all of them are ids.
fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    value.as_array()?.iter().map(id).collect()
}

/// The beginning of a text, for error messages.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"choices":[{"message":{"content":"é"},"finish_reason":"length",
        "token_ids":[1,2]}],"prompt_token_ids":[3]}"#;

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Api::Chat.parse(&bytes).is_err());
        }

        #[test]
        fn damaged_replies_never_panic(at in 0..GOOD.len(), byte: u8, cut in 0..GOOD.len()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Api::Chat.parse(&bytes);
            prop_assert!(Api::Chat.parse(&GOOD.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn bodies() {
        let request = Request {
            id: "1".into(),
            messages: Vec::new(),
            text: "<u>".into(),
            ids: vec![7],
            sampling: super::super::Sampling {
                seed: Some(5),
                ..super::super::Sampling::at(0.1, 9)
            },
            stop: vec!["<end>".into()],
        };
        assert_eq!(Api::Chat.serving(&request), Api::Completions);
        let extra = [("max_tokens".to_owned(), 3.into())].into_iter().collect();
        let body = Api::Completions.body("m", &request, &extra);
        let expected = json!({
            "model": "m", "prompt": "<u>", "temperature": 0.1, "max_tokens": 3,
            "stream": false, "seed": 5, "stop": ["<end>"]
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn replies() {
        let reply = Api::Chat.parse(GOOD.as_bytes()).unwrap();
        assert_eq!((reply.text.as_str(), reply.stop), ("é", StopReason::Length));
        assert_eq!(
            (reply.prompt_ids, reply.answer_ids),
            (Some(vec![3]), Some(vec![1, 2]))
        );
        assert!(Api::Completions.parse(GOOD.as_bytes()).is_err());
        let deep = "[".repeat(100_000);
        assert!(Api::Chat.parse(deep.as_bytes()).is_err());
    }
}
