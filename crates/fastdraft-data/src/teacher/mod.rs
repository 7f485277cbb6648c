//! Who answers prompts: a model in this process, or a server.

#[cfg(feature = "http")]
mod backoff;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "specdec")]
mod target;
#[cfg(feature = "http")]
mod wire;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Message;
use crate::hash::{Fnv, mix};

#[cfg(feature = "http")]
pub use http::{HttpConfig, HttpTeacher};
#[cfg(feature = "specdec")]
pub use target::{Observer, TargetTeacher};
#[cfg(feature = "http")]
pub use wire::Api;

/// How an answer is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Temperature; 0 is greedy.
    pub temperature: f32,
    /// Share of the probability that is kept.
    pub top_p: Option<f32>,
    /// Longest answer, in tokens.
    pub max_tokens: usize,
    /// Answers with fewer tokens are failures.
    pub min_tokens: usize,
    /// For teachers that can repeat themselves.
    pub seed: Option<u64>,
    /// Tells apart several answers to one prompt with otherwise the same settings.
    pub sample: u32,
}

impl Sampling {
    /// The most probable answer.
    #[must_use]
    pub const fn greedy(max_tokens: usize) -> Self {
        Self::at(0.0, max_tokens)
    }

    /// An answer drawn at a temperature.
    #[must_use]
    pub const fn at(temperature: f32, max_tokens: usize) -> Self {
        Self {
            temperature,
            top_p: None,
            max_tokens,
            min_tokens: 1,
            seed: None,
            sample: 0,
        }
    }

    /// A short name; settings of one run must differ in it.
    ///
    /// ```
    /// use fastdraft_data::teacher::Sampling;
    ///
    /// assert_eq!(Sampling::greedy(64).label(), "greedy");
    /// let sampling = Sampling { top_p: Some(0.9), sample: 2, ..Sampling::at(0.8, 64) };
    /// assert_eq!(sampling.label(), "t0.8-p0.9#2");
    /// ```
    #[must_use]
    pub fn label(&self) -> String {
        let mut label = if self.temperature == 0.0 {
            "greedy".to_owned()
        } else {
            format!("t{}", self.temperature)
        };
        if let Some(top_p) = self.top_p {
            label.push_str(&format!("-p{top_p}"));
        }
        if self.sample > 0 {
            label.push_str(&format!("#{}", self.sample));
        }
        label
    }
}

/// A prompt in all the forms that teachers take.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the prompt.
    pub id: String,
    /// The conversation; empty when the text is to be continued as it stands.
    pub messages: Vec<Message>,
    /// The conversation as text, chat template applied.
    pub text: String,
    /// The text in ids.
    pub ids: Vec<u32>,
    /// How to answer.
    pub sampling: Sampling,
    /// Texts that end the answer, besides the model's own end.
    pub stop: Vec<String>,
}

impl Request {
    /// The seed of its random numbers: of its own seed or else `seed`, its name and its setting, so
    /// that no two answers share their numbers.
    #[must_use]
    pub fn seed(&self, seed: u64) -> u64 {
        let mut hash = Fnv::new();
        hash.write(self.id.as_bytes());
        hash.write(&[0xff]);
        hash.write(self.sampling.label().as_bytes());
        mix(hash.finish() ^ mix(self.sampling.seed.unwrap_or(seed)))
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The model ended it.
    Stop,
    /// It became too long.
    Length,
    /// Something else.
    Other,
}

/// What a teacher answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer as text, without its end token.
    pub text: String,
    /// Why it ended.
    pub stop: StopReason,
    /// The prompt as the model saw it, where the teacher tells.
    pub prompt_ids: Option<Vec<u32>>,
    /// The answer in the model's own tokens, end token included, where the teacher tells.
    pub answer_ids: Option<Vec<u32>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (attempts: {attempts})")]
pub struct TeacherError {
    /// What went wrong, without secrets.
    pub reason: String,
    /// Times it was tried.
    pub attempts: u32,
    /// Whether all other requests would fail as well.
    pub fatal: bool,
}

/// Receives replies by the number of their request, as they come.
pub type Sink<'a> = dyn FnMut(usize, Result<Reply, TeacherError>) -> ControlFlow<()> + 'a;

/// Something that answers prompts.
///
/// ```
/// use std::ops::ControlFlow;
/// use fastdraft_data::teacher::{Reply, Request, Sink, StopReason, Teacher};
///
/// struct Parrot;
///
/// impl Teacher for Parrot {
///     fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
///         for (index, request) in requests.iter().enumerate() {
///             let text = request.messages[0].content.clone();
///             let reply = Reply { text, stop: StopReason::Stop, prompt_ids: None, answer_ids: None };
///             if sink(index, Ok(reply)).is_break() {
///                 return;
///             }
///         }
///     }
/// }
/// ```
pub trait Teacher {
    /// Answers requests in any order, each once, until all are answered or the sink breaks off.
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>);
}
