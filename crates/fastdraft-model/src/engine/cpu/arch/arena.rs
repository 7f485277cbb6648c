//! Memory for weights, side by side in large pages.
//!
//! A pass reads all weights once, and with pages of 4 KiB the processor looks a new one up every 64
//! cache lines. Matrices of small models are smaller than a large page, so they share some.

use std::{
    alloc::{Layout, handle_alloc_error},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
    sync::{Arc, Mutex, PoisonError},
};

use memmap2::MmapMut;

/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// Bytes asked of the system at a time; what nobody writes to takes no memory, but what is left at the
/// end of a chunk can be most of a large page.
const CHUNK: usize = 64 * PAGE;
const LINE_BYTES: usize = 64;

/// Zeros from the system, from the start of a large page.
#[derive(Debug)]
struct Chunk {
    first: NonNull<u8>,
    _memory: MmapMut,
}

// SAFETY: the memory is reached through `Pages` alone, of which no two share a byte.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let size = bytes.saturating_add(PAGE);
        let Ok(mut memory) = MmapMut::map_anon(size) else {
            handle_alloc_error(Layout::from_size_align(size, 1).unwrap_or(Layout::new::<u8>()))
        };
        // Pages stay small where the system has no large ones, which costs speed only.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let start = memory.as_mut_ptr();
        // SAFETY: the mapping has room for `bytes` behind the first boundary of a large page.
        let first =
            unsafe { NonNull::new_unchecked(start.add(start.align_offset(PAGE).min(PAGE))) };
        Self {
            first,
            _memory: memory,
        }
    }
}

/// Gives out memory that lives as long as somebody has a part of it.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Bytes of a chunk.
    chunk: usize,
    open: Mutex<Option<Open>>,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            chunk: CHUNK,
            open: Mutex::default(),
        }
    }
}

/// The chunk that is given out, and how much of it was.
#[derive(Debug)]
struct Open {
    chunk: Arc<Chunk>,
    used: usize,
}

impl Arena {
    /// Zeros from the start of a cache line.
    pub(crate) fn zeros<T: Plain>(&self, len: usize) -> Pages<T> {
        const { assert!(align_of::<T>() <= LINE_BYTES) };
        let bytes = (len.saturating_mul(size_of::<T>())).saturating_add(LINE_BYTES - 1)
            / LINE_BYTES
            * LINE_BYTES;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (chunk, at) = match &mut *open {
            Some(open) if bytes <= self.chunk - open.used => {
                let at = open.used;
                open.used += bytes;
                (Arc::clone(&open.chunk), at)
            }
            // What is large has a chunk of its own, and the open one goes on.
            _ if bytes > self.chunk / 2 => (Arc::new(Chunk::new(bytes)), 0),
            open => {
                let chunk = Arc::new(Chunk::new(self.chunk));
                *open = Some(Open {
                    chunk: Arc::clone(&chunk),
                    used: bytes,
                });
                (chunk, 0)
            }
        };
        // SAFETY: `at` and the bytes behind it are in the chunk.
        let first = unsafe { chunk.first.add(at) }.cast();
        Pages {
            first,
            len,
            _chunk: chunk,
        }
    }
}

/// Values of which zero bytes are one, and which need no drop.
///
/// # Safety
/// It must be so.
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: numbers.
unsafe impl Plain for half::f16 {}

/// Values in memory of an [`Arena`].
#[derive(Debug)]
pub(crate) struct Pages<T> {
    first: NonNull<T>,
    len: usize,
    _chunk: Arc<Chunk>,
}

// SAFETY: nobody else has these values.
unsafe impl<T: Send> Send for Pages<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Pages<T> {}

impl<T> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the arena gave these out once, and `_chunk` keeps them.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_apart_and_at_lines() {
        let arena = Arena {
            chunk: 1 << 12,
            ..Arena::default()
        };
        // Some fill a chunk, some do not fit into what is left of one, some are larger than one.
        let sizes = [1, 0, 17, 300, 400, 450, 5, 5000, 512, 512, 31];
        let mut parts: Vec<Pages<f32>> = sizes.iter().map(|len| arena.zeros(*len)).collect();
        drop(arena);
        for (part, len) in parts.iter().zip(sizes) {
            assert_eq!(part.len(), len);
            assert_eq!(part.as_ptr() as usize % LINE_BYTES, 0);
            assert!(part.iter().all(|value| *value == 0.0));
        }
        for (number, part) in parts.iter_mut().enumerate() {
            part.fill(number as f32 + 1.0);
        }
        for (number, part) in parts.iter().enumerate() {
            assert!(
                part.iter().all(|value| *value == number as f32 + 1.0),
                "{number}"
            );
        }
    }

    #[test]
    fn what_is_dropped_leaves_the_others() {
        let arena = Arena::default();
        let (mut kept, dropped) = (arena.zeros::<f32>(100), arena.zeros::<f32>(100));
        kept.fill(3.0);
        drop((dropped, arena));
        let other = Arena::default().zeros::<f32>(1000);
        assert!(kept.iter().all(|value| *value == 3.0) && other.iter().all(|value| *value == 0.0));
    }
}
