//! Where the rows of a stage come from.

use fastdraft_data::PackedTokens;

use crate::{loss::Row, teacher::TaughtRows};

/// Rows with their weight in the mixture, with or without the target's probabilities.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    packed: &'a PackedTokens,
    weight: u32,
    taught: Option<&'a TaughtRows>,
}

impl<'a> Source<'a> {
    pub(crate) fn packed(&self) -> &'a PackedTokens {
        self.packed
    }

    pub(crate) fn taught(&self) -> Option<&'a TaughtRows> {
        self.taught
    }

    pub(super) fn rows(&self) -> usize {
        self.packed.rows()
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    pub(super) fn is_taught(&self) -> bool {
        self.taught.is_some()
    }

    pub(super) fn row(&self, row: usize) -> Row<'a> {
        let (ids, mask) = self.packed.row(row);
        Row {
            ids,
            mask,
            teacher: self.taught.and_then(|taught| taught.row_teacher(row)),
        }
    }
}

impl<'a> From<(&'a PackedTokens, u32)> for Source<'a> {
    fn from((packed, weight): (&'a PackedTokens, u32)) -> Self {
        Self {
            packed,
            weight,
            taught: None,
        }
    }
}

impl<'a> From<(&'a TaughtRows, u32)> for Source<'a> {
    fn from((taught, weight): (&'a TaughtRows, u32)) -> Self {
        Self {
            packed: taught.packed(),
            weight,
            taught: Some(taught),
        }
    }
}
