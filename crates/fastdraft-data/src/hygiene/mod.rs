//! Texts that should not be trained on: duplicates, and texts of the evaluation.

mod duplicates;
mod minhash;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::decontaminate::Decontaminator;
use crate::source::Document;
use duplicates::{Duplicates, Print, Seen};

pub use duplicates::DuplicateConfig;

/// Text that is in work at a time.
const BATCH_BYTES: usize = 8 << 20;

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Kept,
    /// The very text came before.
    Exact,
    /// A text with nearly the same runs of words came before.
    Near,
    /// It shares a run of words with an evaluation text.
    Contaminated,
}

/// How many texts came in and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HygieneCounts {
    /// Texts looked at, the sum of all others.
    pub input: u64,
    /// Texts passed on.
    pub kept: u64,
    /// Texts equal to an earlier one.
    pub exact_duplicates: u64,
    /// Texts similar to an earlier one.
    pub near_duplicates: u64,
    /// Texts that share runs of words with the evaluation.
    pub contaminated: u64,
}

impl HygieneCounts {
    const fn note(&mut self, fate: Fate) {
        self.input += 1;
        match fate {
            Fate::Kept => self.kept += 1,
            Fate::Exact => self.exact_duplicates += 1,
            Fate::Near => self.near_duplicates += 1,
            Fate::Contaminated => self.contaminated += 1,
        }
    }
}

impl std::fmt::Display for HygieneCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "input {} = kept {} + exact duplicates {} + near-duplicates {} + contaminated {}",
            self.input, self.kept, self.exact_duplicates, self.near_duplicates, self.contaminated
        )
    }
}

/// Drops duplicates and evaluation texts from any number of sources, in their order.
///
/// What is dropped depends on nothing but the order of the texts: the first of several duplicates
/// stays. Memory is bounded, see [`DuplicateConfig`]. Words are compared without case and
/// punctuation; scripts without spaces have few words, so near-duplicates in them are found only
/// where whole sentences are equal.
///
/// ```
/// use fastdraft_data::hygiene::{Cleaner, DuplicateConfig};
/// use fastdraft_data::source::Document;
///
/// let document = |text: &str| Ok(Document { id: text.into(), text: text.into() });
/// let texts = ["one two three", "four", "One, two: three!", "four"].map(document);
/// let mut cleaner = Cleaner::new(Some(DuplicateConfig::default()), None);
/// let kept: Vec<Document> = cleaner.clean(texts).collect::<Result<_, _>>()?;
/// assert_eq!(kept.len(), 2);
/// assert_eq!(
///     cleaner.counts().to_string(),
///     "input 4 = kept 2 + exact duplicates 1 + near-duplicates 1 + contaminated 0"
/// );
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Cleaner<'a> {
    config: Option<DuplicateConfig>,
    duplicates: Option<Duplicates>,
    evaluation: Option<&'a Decontaminator>,
    counts: HygieneCounts,
}

impl<'a> Cleaner<'a> {
    /// Looks for duplicates, for texts of the evaluation, or for both.
    #[must_use]
    pub fn new(
        duplicates: Option<DuplicateConfig>,
        evaluation: Option<&'a Decontaminator>,
    ) -> Self {
        Self {
            duplicates: duplicates.clone().map(Duplicates::new),
            config: duplicates,
            evaluation,
            counts: HygieneCounts::default(),
        }
    }

    /// Passes on the documents that are new; errors of the source are passed on in their place.
    ///
    /// About 8 MiB of text are in memory at a time, or one document if that is longer; they are
    /// hashed on all cores.
    pub fn clean<I>(&mut self, documents: I) -> Cleaned<'_, 'a, I::IntoIter>
    where
        I: IntoIterator<Item = Result<Document, DataError>>,
    {
        Cleaned {
            cleaner: self,
            documents: documents.into_iter(),
            batch: Vec::new().into_iter(),
        }
    }

    /// Looks at one text and remembers it if it is new.
    pub fn admit(&mut self, text: &str) -> Fate {
        let look = self.look(text);
        self.judge(&look)
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> HygieneCounts {
        self.counts
    }

    /// The part of the work that does not depend on other texts.
    fn look(&self, text: &str) -> Look {
        if self
            .evaluation
            .is_some_and(|filter| filter.contaminated(text))
        {
            return Look::Contaminated;
        }
        let print = |config| Box::new(Print::of(text, config));
        Look::Clean(self.config.as_ref().map(print))
    }

    fn judge(&mut self, look: &Look) -> Fate {
        let fate = match look {
            Look::Contaminated => Fate::Contaminated,
            Look::Clean(print) => match (&mut self.duplicates, print) {
                (Some(index), Some(print)) => match index.admit(print) {
                    Seen::No => Fate::Kept,
                    Seen::Exact => Fate::Exact,
                    Seen::Near => Fate::Near,
                },
                _ => Fate::Kept,
            },
        };
        self.counts.note(fate);
        fate
    }
}

#[derive(Debug)]
enum Look {
    Contaminated,
    Clean(Option<Box<Print>>),
}

/// The documents that are left, see [`Cleaner::clean`].
#[derive(Debug)]
pub struct Cleaned<'c, 'a, I> {
    cleaner: &'c mut Cleaner<'a>,
    documents: I,
    batch: std::vec::IntoIter<Result<(Document, Look), DataError>>,
}

impl<I: Iterator<Item = Result<Document, DataError>>> Cleaned<'_, '_, I> {
    fn fill(&mut self) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            let Some(document) = self.documents.next() else {
                break;
            };
            bytes += document.as_ref().map_or(0, |document| document.text.len()) + 64;
            batch.push(document);
        }
        let cleaner = &*self.cleaner;
        let looked: Vec<_> = batch
            .into_par_iter()
            .map(|document| {
                let document = document?;
                let look = cleaner.look(&document.text);
                Ok((document, look))
            })
            .collect();
        self.batch = looked.into_iter();
    }
}

impl<I: Iterator<Item = Result<Document, DataError>>> Iterator for Cleaned<'_, '_, I> {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.batch.len() == 0 {
                self.fill();
            }
            match self.batch.next()? {
                Err(error) => return Some(Err(error)),
                Ok((document, look)) => {
                    if self.cleaner.judge(&look) == Fate::Kept {
                        return Some(Ok(document));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Result<Document, DataError> {
        Ok(Document {
            id: text.into(),
            text: text.into(),
        })
    }

    #[test]
    fn several_sources_share_one_memory_and_threads_change_nothing() {
        let text = |i: usize| format!("document {} says {} and {}", i % 700, i % 700 * 31, i % 350);
        let texts: Vec<String> = (0..2000).map(text).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut cleaner = Cleaner::new(Some(DuplicateConfig::default()), None);
                let mut kept = Vec::new();
                for half in texts.chunks(1000) {
                    let documents = half.iter().map(|text| document(text));
                    kept.extend(cleaner.clean(documents).map(|one| one.unwrap().id));
                }
                (kept, cleaner.counts())
            })
        };
        let (kept, counts) = run(1);
        assert_eq!(run(3), (kept.clone(), counts));
        assert_eq!((kept.len() as u64, counts.input), (counts.kept, 2000));
        assert_eq!(counts.kept + counts.exact_duplicates, 2000);
        assert_eq!(counts.kept, 700);
    }

    #[test]
    fn evaluation_texts_go_and_errors_stay() {
        let mut filter = Decontaminator::new(3);
        filter.add("the quick brown fox");
        let mut cleaner = Cleaner::new(None, Some(&filter));
        let bad = Err(DataError::line(std::path::Path::new("a"), 1, "bad"));
        let texts = [
            document("A quick brown fox."),
            bad,
            document("x"),
            document("x"),
        ];
        let found: Vec<bool> = cleaner.clean(texts).map(|one| one.is_ok()).collect();
        assert_eq!(found, [false, true, true]);
        let counts = cleaner.counts();
        assert_eq!((counts.input, counts.contaminated, counts.kept), (3, 1, 2));
    }
}
