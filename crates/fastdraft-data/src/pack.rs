//! Documents and examples laid out in rows of one length.

use crate::{DataError, MaskedTokens};

/// Rows of `sequence_length + 1` tokens: all but the last are inputs, all but the first labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedTokens {
    /// Number of inputs, and of labels, in a row.
    pub sequence_length: usize,
    /// The tokens of all rows, one row after the other.
    pub ids: Vec<u32>,
    /// For each token whether it counts as a label; the first of a row never is one.
    pub mask: Vec<bool>,
    padding: usize,
}

impl PackedTokens {
    const fn width(&self) -> usize {
        self.sequence_length + 1
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.ids.len() / self.width()
    }

    /// The tokens of a row and their mask, both `sequence_length + 1` long.
    ///
    /// The loss of the label at `ids[j]` counts where `mask[j]` is true, for `j` from 1.
    ///
    /// # Panics
    ///
    /// When there are not that many rows.
    #[must_use]
    pub fn row(&self, index: usize) -> (&[u32], &[bool]) {
        let span = index * self.width()..(index + 1) * self.width();
        (&self.ids[span.clone()], &self.mask[span])
    }

    /// Number of tokens that count as labels.
    #[must_use]
    pub fn trained(&self) -> usize {
        self.mask
            .chunks_exact(self.width())
            .map(|row| row[1..].iter().filter(|&&on| on).count())
            .sum()
    }

    /// Number of tokens that only fill rows up.
    #[must_use]
    pub const fn padding(&self) -> usize {
        self.padding
    }

    /// Share of the tokens that only fill rows up.
    #[must_use]
    pub fn waste(&self) -> f64 {
        self.padding as f64 / self.ids.len().max(1) as f64
    }
}

/// Fills rows with documents and examples.
///
/// ```
/// use fastdraft_data::Packer;
///
/// let mut packer = Packer::new(3, 0);
/// packer.push_document(&[7, 8]);
/// packer.push_document(&[9, 6]);
/// let packed = packer.finish()?;
/// assert_eq!(packed.rows(), 2);
/// assert_eq!(packed.row(0).0, [7, 8, 0, 9]);
/// assert_eq!(packed.row(1).0, [6, 0, 0, 0]);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Packer {
    packed: PackedTokens,
    eos_id: u32,
    documents: usize,
}

impl Packer {
    /// An empty packer; `eos_id` goes after each document and into unused places.
    #[must_use]
    pub const fn new(sequence_length: usize, eos_id: u32) -> Self {
        Self {
            packed: PackedTokens {
                sequence_length,
                ids: Vec::new(),
                mask: Vec::new(),
                padding: 0,
            },
            eos_id,
            documents: 0,
        }
    }

    /// Adds a document and an end token, all of it trained; long ones run over several rows.
    ///
    /// Nothing is added for an empty document.
    pub fn push_document(&mut self, ids: &[u32]) {
        self.documents += 1;
        if ids.is_empty() {
            return;
        }
        self.packed.ids.extend_from_slice(ids);
        self.packed.ids.push(self.eos_id);
        self.packed.mask.resize(self.packed.ids.len(), true);
    }

    /// Adds an example, on a new row if it would not fit on this one.
    ///
    /// One that is longer than a row begins a row and runs over the next ones.
    pub fn push_masked(&mut self, tokens: &MaskedTokens) {
        self.documents += 1;
        if tokens.len() > self.free() {
            self.fill_row();
        }
        self.packed.ids.extend_from_slice(&tokens.ids);
        self.packed.mask.extend_from_slice(&tokens.mask);
    }

    /// Fills the last row up and returns all of them.
    ///
    /// A last row without a label is left out.
    ///
    /// # Errors
    ///
    /// [`DataError::EmptyCorpus`] when no token would be trained.
    pub fn finish(mut self) -> Result<PackedTokens, DataError> {
        let width = self.packed.width();
        let last = self.packed.ids.len() / width * width;
        let labels = self.packed.mask.get(last + 1..).unwrap_or_default();
        if labels.contains(&true) {
            self.fill_row();
        } else {
            self.packed.ids.truncate(last);
            self.packed.mask.truncate(last);
        }
        if self.packed.trained() == 0 {
            return Err(DataError::EmptyCorpus {
                documents: self.documents,
                sequence_length: self.packed.sequence_length,
            });
        }
        Ok(self.packed)
    }

    const fn free(&self) -> usize {
        let width = self.packed.width();
        width - self.packed.ids.len() % width
    }

    fn fill_row(&mut self) {
        let free = self.free();
        if free == self.packed.width() {
            return;
        }
        let full = self.packed.ids.len() + free;
        self.packed.ids.resize(full, self.eos_id);
        self.packed.mask.resize(full, false);
        self.packed.padding += free;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(prompt: usize, answer: usize) -> MaskedTokens {
        MaskedTokens::from_answer(&vec![1; prompt], &vec![2; answer]).unwrap()
    }

    #[test]
    fn examples_that_fit_are_not_split() {
        let mut packer = Packer::new(7, 0);
        packer.push_masked(&example(3, 2));
        packer.push_masked(&example(2, 3));
        packer.push_masked(&example(1, 2));
        let packed = packer.finish().unwrap();
        assert_eq!(packed.row(0).0, [1, 1, 1, 2, 2, 0, 0, 0]);
        assert_eq!(packed.row(1).0, [1, 1, 2, 2, 2, 1, 2, 2]);
        assert_eq!(
            (packed.rows(), packed.padding(), packed.trained()),
            (2, 3, 7)
        );
        assert!((packed.waste() - 3.0 / 16.0).abs() < 1e-12);
        assert_eq!(packed.row(0).1[5..], [false; 3]);
    }

    #[test]
    fn long_examples_keep_all_tokens() {
        let mut packer = Packer::new(3, 0);
        packer.push_document(&[5]);
        packer.push_masked(&example(2, 7));
        let packed = packer.finish().unwrap();
        assert_eq!(packed.row(0).0, [5, 0, 0, 0]);
        assert_eq!(packed.row(1).0, [1, 1, 2, 2]);
        assert_eq!(packed.row(2).0, [2; 4]);
        // The ninth token alone on a row is no label.
        assert_eq!(packed.rows(), 3);
    }

    #[test]
    fn nothing_to_train_is_an_error() {
        let error = Packer::new(8, 0).finish().unwrap_err();
        assert!(matches!(error, DataError::EmptyCorpus { documents: 0, .. }));
        let mut packer = Packer::new(8, 0);
        packer.push_document(&[]);
        assert!(packer.finish().is_err());
        let mut packer = Packer::new(0, 0);
        packer.push_document(&[1, 2, 3]);
        assert!(packer.finish().is_err());
    }
}
