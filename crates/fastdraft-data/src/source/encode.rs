//! Texts to ids on all cores, in order.

use rayon::prelude::*;

use super::Document;
use crate::{DataError, Tokenizer};

/// Text that is in work at a time.
const BATCH_BYTES: usize = 8 << 20;

/// A document as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Name of the document.
    pub id: String,
    /// Length of the text.
    pub bytes: usize,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// Documents as ids, in the order of the source.
#[derive(Debug)]
pub struct EncodedDocuments<'a, I> {
    documents: I,
    tokenizer: &'a Tokenizer,
    batch: std::vec::IntoIter<Result<Encoded, DataError>>,
}

/// Turns documents into ids on all cores; special tokens in the text are ordinary text.
///
/// About 8 MiB of text are in memory at a time, or one document if that is longer. Errors of the
/// source are passed on in their place.
///
/// ```
/// # use fastdraft_data::{BpeVocabulary, Tokenizer};
/// # let vocabulary = BpeVocabulary {
/// #     tokens: ["h", "i"].map(String::from).to_vec(),
/// #     pre: "gpt-2".into(),
/// #     ..BpeVocabulary::default()
/// # };
/// # let tokenizer = Tokenizer::from_bpe(&vocabulary)?;
/// use fastdraft_data::source::{Document, encode::encode};
///
/// let documents = ["hi", "ih"].map(|text| {
///     Ok(Document { id: text.into(), text: text.into() })
/// });
/// let ids: Vec<Vec<u32>> = encode(documents, &tokenizer)
///     .map(|document| document.map(|document| document.ids))
///     .collect::<Result<_, _>>()?;
/// assert_eq!(ids, [[0, 1], [1, 0]]);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
pub fn encode<'a, I>(documents: I, tokenizer: &'a Tokenizer) -> EncodedDocuments<'a, I::IntoIter>
where
    I: IntoIterator<Item = Result<Document, DataError>>,
{
    EncodedDocuments {
        documents: documents.into_iter(),
        tokenizer,
        batch: Vec::new().into_iter(),
    }
}

impl<I: Iterator<Item = Result<Document, DataError>>> EncodedDocuments<'_, I> {
    fn fill(&mut self) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(document) = self.documents.next() else {
                break;
            };
            // An empty document or an error takes memory too.
            bytes += document.as_ref().map_or(0, |document| document.text.len()) + 64;
            batch.push(document);
        }
        let tokenizer = self.tokenizer;
        let encoded: Vec<_> = batch
            .into_par_iter()
            .with_max_len(1)
            .map(|document| {
                let document = document?;
                Ok(Encoded {
                    ids: tokenizer.encode(&document.text, false)?,
                    bytes: document.text.len(),
                    id: document.id,
                })
            })
            .collect();
        self.batch = encoded.into_iter();
    }
}

impl<I: Iterator<Item = Result<Document, DataError>>> Iterator for EncodedDocuments<'_, I> {
    type Item = Result<Encoded, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.len() == 0 {
            self.fill();
        }
        self.batch.next()
    }
}
