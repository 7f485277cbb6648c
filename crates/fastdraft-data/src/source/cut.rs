//! Prompts cut from documents: what a target can be asked without any instruction data.

use super::{Document, Prompt};

/// What becomes a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// The first sentences of a paragraph, to be continued.
    Openings,
    /// A Python function up to the end of its docstring, to be written.
    Functions,
    /// Whole paragraphs behind an instruction, such as `Summarize:`.
    Passages {
        /// Stands on the line before the passage.
        instruction: String,
    },
}

/// Longest and shortest prompts, in bytes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutConfig {
    /// Shorter ones are left out.
    pub shortest: usize,
    /// Nothing longer is cut.
    pub longest: usize,
    /// Most prompts of a document, spread over it.
    pub per_document: usize,
}

impl Default for CutConfig {
    fn default() -> Self {
        Self {
            shortest: 80,
            longest: 1200,
            per_document: 8,
        }
    }
}

/// Prompts of a document, in its order, named after it.
///
/// ```
/// use fastdraft_data::source::{Document, cut::{Cut, CutConfig, cut}};
/// let document = Document {
///     id: "a.py".into(),
///     text: "import os\n\ndef add(a, b):\n    \"\"\"Adds two numbers.\"\"\"\n    return a + b\n".into(),
/// };
/// let config = CutConfig { shortest: 10, ..CutConfig::default() };
/// let prompts = cut(&document, "code", &Cut::Functions, config);
/// assert_eq!(prompts[0].prompt, "def add(a, b):\n    \"\"\"Adds two numbers.\"\"\"\n");
/// ```
#[must_use]
pub fn cut(document: &Document, task: &str, kind: &Cut, config: CutConfig) -> Vec<Prompt> {
    let text = document.text.as_str();
    let all: Vec<String> = match kind {
        Cut::Openings => (paragraphs(text).into_iter())
            .filter_map(|paragraph| opening(paragraph, config))
            .map(str::to_owned)
            .collect(),
        Cut::Functions => functions(text),
        Cut::Passages { instruction } => (passages(text, config.longest).into_iter())
            .filter(|passage| passage.len() >= config.shortest)
            .map(|passage| format!("{instruction}\n{passage}"))
            .collect(),
    };
    let fits = |prompt: &String| {
        let extra = match kind {
            Cut::Passages { instruction } => instruction.len() + 1,
            _ => 0,
        };
        (config.shortest..=config.longest + extra).contains(&prompt.len())
    };
    let all: Vec<String> = all.into_iter().filter(fits).collect();
    let step = all.len().div_ceil(config.per_document.max(1)).max(1);
    (all.into_iter().step_by(step).enumerate())
        .map(|(i, prompt)| Prompt {
            id: format!("{}#{i}", document.id),
            task: task.to_owned(),
            prompt,
        })
        .collect()
}

fn paragraphs(text: &str) -> Vec<&str> {
    (text.split("\n\n").map(str::trim))
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

/// Whole sentences from the beginning: the second boundary that leaves the prompt long enough.
fn opening(paragraph: &str, config: CutConfig) -> Option<&str> {
    let ends = paragraph.match_indices(['.', '!', '?']).filter(|(at, _)| {
        let rest = &paragraph[at + 1..];
        rest.starts_with([' ', '\n'])
    });
    let end = ends
        .map(|(at, _)| at + 1)
        .find(|end| *end >= config.shortest)?;
    (end <= config.longest).then(|| &paragraph[..end])
}

/// Paragraphs joined while they fit; a longer one is left out, as it would be cut in a sentence.
fn passages(text: &str, longest: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut passage = String::new();
    for paragraph in paragraphs(text) {
        if passage.len() + paragraph.len() + 2 > longest && !passage.is_empty() {
            all.push(std::mem::take(&mut passage));
        }
        if paragraph.len() > longest {
            continue;
        }
        if !passage.is_empty() {
            passage.push_str("\n\n");
        }
        passage.push_str(paragraph);
    }
    if !passage.is_empty() {
        all.push(passage);
    }
    all
}

/// From `def` to the end of the docstring, without the indentation of a method.
fn functions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !line.trim_start().starts_with("def ") {
            continue;
        }
        let Some(colon) = (first..lines.len().min(first + 12)).find(|at| lines[*at].ends_with(':'))
        else {
            continue;
        };
        let Some(last) = docstring_end(&lines, colon + 1) else {
            continue;
        };
        let mut prompt = String::new();
        for line in &lines[first..=last] {
            let cut = line.len() - line.trim_start().len();
            prompt.push_str(&line[cut.min(indent)..]);
            prompt.push('\n');
        }
        all.push(prompt);
    }
    all
}

/// The line on which a docstring that begins on line `first` ends.
fn docstring_end(lines: &[&str], first: usize) -> Option<usize> {
    let opened = lines
        .get(first)?
        .trim_start()
        .trim_start_matches(['r', 'R']);
    let quotes = ["\"\"\"", "'''"]
        .into_iter()
        .find(|q| opened.starts_with(q))?;
    if opened[quotes.len()..].contains(quotes) {
        return Some(first);
    }
    (first + 1..lines.len()).find(|at| lines[*at].contains(quotes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str) -> Document {
        Document {
            id: "d".into(),
            text: text.into(),
        }
    }

    const SMALL: CutConfig = CutConfig {
        shortest: 10,
        longest: 60,
        per_document: 8,
    };

    #[test]
    fn openings_end_with_a_sentence() {
        let text = "It was late. Nobody had come.\n\nShort.\n\nNo end in this one";
        let prompts = cut(&document(text), "stories", &Cut::Openings, SMALL);
        let texts: Vec<&str> = prompts.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(texts, ["It was late."]);
        assert_eq!(
            (prompts[0].id.as_str(), prompts[0].task.as_str()),
            ("d#0", "stories")
        );
    }

    #[test]
    fn methods_lose_their_indentation_and_bodies() {
        let text = "class A:\n    def run(\n        self,\n    ):\n        '''Runs.\n\n        Twice.\n        '''\n        go()\n\ndef bare(a):\n    return a\n";
        let prompts = cut(
            &document(text),
            "code",
            &Cut::Functions,
            CutConfig {
                longest: 200,
                ..SMALL
            },
        );
        let texts: Vec<&str> = prompts.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(
            texts,
            ["def run(\n    self,\n):\n    '''Runs.\n\n    Twice.\n    '''\n"]
        );
    }

    #[test]
    fn passages_are_whole_paragraphs_behind_the_instruction() {
        let text =
            "One paragraph of text.\n\nAnother paragraph.\n\nA third paragraph that is here.";
        let kind = Cut::Passages {
            instruction: "Summarize:".into(),
        };
        let prompts = cut(&document(text), "summarization", &kind, SMALL);
        let texts: Vec<&str> = prompts.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Summarize:\nOne paragraph of text.\n\nAnother paragraph.",
                "Summarize:\nA third paragraph that is here."
            ]
        );
    }

    #[test]
    fn a_long_document_gives_no_more_than_asked() {
        let text = "This is a sentence. And more.\n\n".repeat(100);
        let config = CutConfig {
            per_document: 7,
            ..SMALL
        };
        let prompts = cut(&document(&text), "stories", &Cut::Openings, config);
        assert!(prompts.len() <= 7 && prompts.len() > 3, "{}", prompts.len());
    }

    proptest! {
        #[test]
        fn any_text_is_cut_within_bounds(text in "(?s).{0,300}|(def f\\(é\\):\n|    \"\"\"x|\"\"\"\n|\n\n|ab\\. |日本\\. ){0,40}") {
            let passages = Cut::Passages { instruction: "S".into() };
            for kind in [Cut::Openings, Cut::Functions, passages] {
                for prompt in cut(&document(&text), "t", &kind, SMALL) {
                    prop_assert!(prompt.prompt.len() >= 10 && prompt.prompt.len() <= 62);
                }
            }
        }
    }
}
