//! Some rows of a matrix.

use std::{borrow::Cow, sync::Arc};

use super::memory::{Buffer, Memory};

/// Positions that are wanted, out of `all`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Ascending; `None` for all of them.
    places: Option<&'a [i64]>,
    all: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn all(all: usize) -> Self {
        Self { places: None, all }
    }

    pub(super) fn of(places: &'a [i64], all: usize) -> Self {
        Self {
            places: (places.len() < all).then_some(places),
            all,
        }
    }

    /// How many are wanted.
    pub(super) fn count(&self) -> usize {
        self.places.map_or(self.all, <[i64]>::len)
    }

    /// `[all, width]` to `[wanted, width]`.
    pub(super) fn gather<'v>(&self, values: &'v [f32], width: usize) -> Cow<'v, [f32]> {
        let Some(places) = self.places else {
            return Cow::Borrowed(values);
        };
        let mut some = Vec::with_capacity(places.len() * width);
        for place in places {
            some.extend_from_slice(&values[*place as usize * width..][..width]);
        }
        Cow::Owned(some)
    }

    /// As [`gather`](Self::gather), of values that others have too.
    pub(super) fn gather_shared(
        &self,
        values: &Arc<Buffer>,
        width: usize,
        memory: &Memory,
    ) -> Arc<Buffer> {
        match self.gather(values, width) {
            Cow::Borrowed(_) => Arc::clone(values),
            // In memory that came from there: what came from elsewhere would stay, each step anew.
            Cow::Owned(some) => Arc::new(memory.copy(&some)),
        }
    }

    /// `[wanted, width]` to `[all, width]`, 0 elsewhere.
    pub(super) fn scatter(&self, values: Buffer, width: usize, memory: &Memory) -> Buffer {
        if self.places.is_none() {
            return values;
        }
        self.scatter_copy(&values, width, memory)
    }

    /// As [`scatter`](Self::scatter), always in other memory.
    pub(super) fn scatter_copy(&self, values: &[f32], width: usize, memory: &Memory) -> Buffer {
        let Some(places) = self.places else {
            return memory.copy(values);
        };
        let mut all = memory.zeros(self.all * width);
        for (place, row) in places.iter().zip(values.chunks_exact(width)) {
            all[*place as usize * width..][..width].copy_from_slice(row);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_again_and_again_keeps_no_more_memory() {
        let memory = Memory::default();
        let values = Arc::new(memory.copy(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let rows = Rows::of(&[0, 2], 3);
        for _ in 0..3 {
            let some = rows.gather_shared(&values, 2, &memory);
            assert_eq!(**some, [1.0, 2.0, 5.0, 6.0]);
            drop(some);
            assert_eq!(memory.kept(), 1);
        }
        let all = Rows::of(&[0, 1, 2], 3).gather_shared(&values, 2, &memory);
        assert!(Arc::ptr_eq(&all, &values));
    }
}
