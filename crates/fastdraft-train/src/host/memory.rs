//! Memory of values that are done with, for those to come.

use std::{
    mem::take,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// What is handed back is handed out again: pages are asked of the system once, not every step.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<Vec<f32>>>>);

/// Values that go back when they are dropped.
pub(crate) struct Buffer {
    values: Vec<f32>,
    home: Memory,
}

impl Memory {
    /// Values that are whatever was there before.
    pub(crate) fn take(&self, count: usize) -> Buffer {
        Buffer {
            values: self.vector(count),
            home: self.clone(),
        }
    }

    pub(crate) fn zeros(&self, count: usize) -> Buffer {
        let mut buffer = self.take(count);
        buffer.fill(0.0);
        buffer
    }

    pub(crate) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// As [`take`](Self::take), to be handed back with [`give`](Self::give) or not at all.
    pub(crate) fn vector(&self, count: usize) -> Vec<f32> {
        let mut free = self.free();
        let fits = |values: &Vec<f32>| (count..=2 * count).contains(&values.capacity());
        let sizes = || {
            free.iter()
                .enumerate()
                .map(|(at, values)| (values.capacity(), at))
        };
        let fitting = sizes().filter(|(_, at)| fits(&free[*at])).min();
        let Some((_, at)) = fitting else {
            // One that was too small makes place: no more is kept than was once in use.
            if let Some((_, at)) = sizes().filter(|(size, _)| *size < count).max() {
                free.swap_remove(at);
            }
            drop(free);
            return vec![0.0; count];
        };
        let mut values = free.swap_remove(at);
        drop(free);
        values.resize(count, 0.0);
        values
    }

    pub(crate) fn give(&self, values: Vec<f32>) {
        if values.capacity() > 0 {
            self.free().push(values);
        }
    }

    /// Makes what is free useless as numbers.
    #[cfg(test)]
    pub(super) fn spoil(&self) {
        self.free()
            .iter_mut()
            .for_each(|values| values.fill(f32::NAN));
    }

    /// How many vectors are free.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.free().len()
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        // Vectors are whole whenever the lock is let go.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give(take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_no_more_is_kept_than_was_in_use() {
        let memory = Memory::default();
        let first = memory.zeros(100);
        let place = first.as_ptr();
        drop(first);
        let second = memory.take(60);
        assert_eq!((second.as_ptr(), second.len()), (place, 60));
        // Far smaller values do not hold it.
        drop(second);
        let small = memory.copy(&[1.0; 20]);
        assert_ne!(small.as_ptr(), place);
        drop(small);
        for count in [101, 300, 1000] {
            drop(memory.take(count));
            assert_eq!(memory.free().len(), 2, "{count}");
        }
        let zeros = memory.zeros(900);
        assert!(zeros.iter().all(|value| *value == 0.0));
    }
}
