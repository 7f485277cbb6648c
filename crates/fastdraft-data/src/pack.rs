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
    /// For each token whether a document, an example or the filling of a row begins with it.
    ///
    /// Attention that must not cross documents is blocked here and at the beginning of rows.
    pub begins: Vec<bool>,
    // Per row; missing entries at the end are zero.
    padding: Vec<u32>,
}

impl PackedTokens {
    /// No rows yet.
    pub(crate) const fn empty(sequence_length: usize) -> Self {
        Self {
            sequence_length,
            ids: Vec::new(),
            mask: Vec::new(),
            begins: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// Notes that the row has this many tokens that only fill it up.
    pub(crate) fn set_padding(&mut self, row: usize, padding: u32) {
        if padding > 0 {
            self.padding.resize(row + 1, 0);
            self.padding[row] = padding;
        }
    }

    /// Takes the first rows out.
    fn split_rows(&mut self, rows: usize) -> Self {
        let at = rows * self.width();
        let taken = |all: &mut Vec<bool>| {
            let rest = all.split_off(at);
            std::mem::replace(all, rest)
        };
        let ids = self.ids.split_off(at);
        let padding = self.padding.split_off(rows.min(self.padding.len()));
        Self {
            sequence_length: self.sequence_length,
            ids: std::mem::replace(&mut self.ids, ids),
            mask: taken(&mut self.mask),
            begins: taken(&mut self.begins),
            padding: std::mem::replace(&mut self.padding, padding),
        }
    }

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

    /// For each token of a row whether a document or example begins with it.
    ///
    /// # Panics
    ///
    /// When there are not that many rows.
    #[must_use]
    pub fn row_begins(&self, index: usize) -> &[bool] {
        &self.begins[index * self.width()..(index + 1) * self.width()]
    }

    /// Number of tokens at the end of a row that only fill it up.
    #[must_use]
    pub fn row_padding(&self, index: usize) -> usize {
        self.padding
            .get(index)
            .map_or(0, |&padding| padding as usize)
    }

    /// Number of documents and examples that begin in these rows.
    #[must_use]
    pub fn documents(&self) -> usize {
        let filled = self.padding.iter().filter(|&&padding| padding > 0).count();
        self.begins.iter().filter(|&&on| on).count() - filled
    }

    /// Number of tokens that only fill rows up.
    #[must_use]
    pub const fn padding(&self) -> usize {
        let rows = self.padding.as_slice();
        let (mut row, mut sum) = (0, 0);
        while row < rows.len() {
            sum += rows[row] as usize;
            row += 1;
        }
        sum
    }

    /// Share of the tokens that only fill rows up.
    #[must_use]
    pub fn waste(&self) -> f64 {
        self.padding() as f64 / self.ids.len().max(1) as f64
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
            packed: PackedTokens::empty(sequence_length),
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
        self.packed.begins.push(true);
        self.packed.ids.extend_from_slice(ids);
        self.packed.ids.push(self.eos_id);
        self.packed.mask.resize(self.packed.ids.len(), true);
        self.packed.begins.resize(self.packed.ids.len(), false);
    }

    /// Adds an example, on a new row if it would not fit on this one.
    ///
    /// One that is longer than a row begins a row and runs over the next ones.
    pub fn push_masked(&mut self, tokens: &MaskedTokens) {
        self.documents += 1;
        if tokens.len() > self.free() {
            self.fill_row();
        }
        if tokens.is_empty() {
            return;
        }
        self.packed.begins.push(true);
        self.packed.ids.extend_from_slice(&tokens.ids);
        self.packed.mask.extend_from_slice(&tokens.mask);
        self.packed.begins.resize(self.packed.ids.len(), false);
    }

    /// Takes the rows that are full, so that a long corpus need not be held in memory.
    ///
    /// ```
    /// use fastdraft_data::Packer;
    ///
    /// let mut packer = Packer::new(1, 0);
    /// packer.push_document(&[7, 8]);
    /// assert_eq!(packer.take_rows().ids, [7, 8]);
    /// assert_eq!(packer.into_rest().rows(), 0);
    /// ```
    pub fn take_rows(&mut self) -> PackedTokens {
        let rows = self.packed.rows();
        self.packed.split_rows(rows)
    }

    /// Fills the last row up and returns what [`take_rows`](Self::take_rows) has left.
    ///
    /// As in [`finish`](Self::finish) a last row without a label is left out; unlike there,
    /// having nothing left is no error.
    #[must_use]
    pub fn into_rest(mut self) -> PackedTokens {
        self.close();
        self.packed
    }

    /// Fills the last row up and returns all of them.
    ///
    /// A last row without a label is left out.
    ///
    /// # Errors
    ///
    /// [`DataError::EmptyCorpus`] when no token would be trained.
    pub fn finish(mut self) -> Result<PackedTokens, DataError> {
        self.close();
        if self.packed.trained() == 0 {
            return Err(DataError::EmptyCorpus {
                documents: self.documents,
                sequence_length: self.packed.sequence_length,
            });
        }
        Ok(self.packed)
    }

    fn close(&mut self) {
        let width = self.packed.width();
        let last = self.packed.ids.len() / width * width;
        let labels = self.packed.mask.get(last + 1..).unwrap_or_default();
        if labels.contains(&true) {
            self.fill_row();
        } else {
            self.packed.ids.truncate(last);
            self.packed.mask.truncate(last);
            self.packed.begins.truncate(last);
        }
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
        let row = self.packed.rows();
        let full = self.packed.ids.len() + free;
        self.packed.ids.resize(full, self.eos_id);
        self.packed.mask.resize(full, false);
        self.packed.begins.push(true);
        self.packed.begins.resize(full, false);
        self.packed
            .set_padding(row, u32::try_from(free).unwrap_or(u32::MAX));
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
        let begins = [true, false, false, false, false, true, false, false];
        assert_eq!(packed.row_begins(0), begins);
        assert_eq!((packed.row_padding(0), packed.row_padding(1)), (3, 0));
        assert_eq!(packed.documents(), 3);
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
    fn rows_taken_early_are_the_same_rows() {
        let pieces: Vec<_> = (1..40).map(|i| example(i % 5 + 1, i % 7 + 1)).collect();
        let (mut whole, mut parts) = (Packer::new(9, 0), Packer::new(9, 0));
        let mut taken = PackedTokens::empty(9);
        let mut append = |part: PackedTokens| {
            for row in 0..part.rows() {
                taken.set_padding(taken.rows() + row, part.row_padding(row) as u32);
            }
            taken.ids.extend(part.ids);
            taken.mask.extend(part.mask);
            taken.begins.extend(part.begins);
        };
        for piece in &pieces {
            whole.push_masked(piece);
            parts.push_masked(piece);
            append(parts.take_rows());
        }
        append(parts.into_rest());
        assert_eq!(taken, whole.finish().unwrap());
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
