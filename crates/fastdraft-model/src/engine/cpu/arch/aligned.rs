//! Buffers that start at a cache line.

use std::ops::{Deref, DerefMut};

const LINE_BYTES: usize = 64;

/// Values from the start of a cache line, so that vector loads at multiples of their width never
/// cross one. Grows and keeps what it grew to.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` values of the default, zero for numbers.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut values = Self::default();
        values.resize(len);
        values
    }

    /// Makes room for `len` values, whose content is whatever was there.
    pub(crate) fn resize(&mut self, len: usize) {
        let room = len + LINE_BYTES / size_of::<T>();
        if self.memory.len() < room {
            // Zeros from the system take no memory before they are written to.
            self.memory = vec![T::default(); room];
            let offset = self.memory.as_ptr().align_offset(LINE_BYTES);
            // `align_offset` may give up, which costs speed only.
            self.start = if offset < LINE_BYTES { offset } else { 0 };
        }
        self.len = len;
    }
}

// A copy of the memory would begin elsewhere in a line.
impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut values = Self::zeros(self.len);
        values.copy_from_slice(self);
        values
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_starts_at_a_line_and_keeps_its_memory() {
        let mut buffer = Aligned::<i16>::default();
        for len in [0, 1, 31, 32, 33, 1000, 7, 5000] {
            buffer.resize(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % LINE_BYTES, 0);
            buffer.fill(3);
        }
        assert_eq!(*buffer.clone(), *buffer);
        assert_eq!(buffer.clone().as_ptr() as usize % LINE_BYTES, 0);
        let at = buffer.as_ptr();
        buffer.resize(4999);
        assert_eq!(buffer.as_ptr(), at);
    }
}
