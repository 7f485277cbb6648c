//! Lines between this program and rank 0.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the worker is told, one JSON object a line.
#[derive(Debug, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Order<'a> {
    /// One step at this learning rate.
    Step { rate: f64 },
    /// Weights and moments into this folder.
    Save { folder: &'a Path },
    /// Answers to the questions of a file.
    Answer { ask: usize },
    /// The end.
    Stop,
}

/// What the worker says, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    /// All ranks have their weights and data.
    Ready {},
    /// A step is over.
    Step {
        /// Steps of the stage so far.
        step: usize,
        loss: Option<f32>,
        norm: Option<f32>,
    },
    /// The files asked for are there.
    Saved {
        /// Steps of the optimizer so far.
        updates: u32,
    },
    /// A file of answers is there.
    Answered { file: String },
    /// A rank cannot go on.
    Error {
        rank: usize,
        kind: String,
        message: Option<String>,
        loss: Option<String>,
        tensor: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_both_directions() {
        let line = serde_json::to_string(&Order::Step { rate: 1e-3 }).unwrap();
        assert_eq!(line, r#"{"do":"step","rate":0.001}"#);
        let line = r#"{"event":"step","step":7,"loss":2.5,"norm":null,"rate":0.1,"seconds":1.0}"#;
        let step = Event::Step {
            step: 7,
            loss: Some(2.5),
            norm: None,
        };
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), step);
    }
}
