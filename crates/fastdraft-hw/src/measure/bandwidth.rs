//! Streaming read bandwidth of main memory.

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::Instant;

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};

use crate::error::HwError;

const MIN_BUFFER: usize = 256 << 20;
const MAX_BUFFER: usize = 2 << 30;
const PASSES: usize = 5;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// A measured memory bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bandwidth {
    /// Bytes read per second, all threads together, best pass.
    pub bytes_per_second: f64,
    /// Bytes read in one pass.
    pub buffer_bytes: usize,
    /// Threads that read.
    pub threads: usize,
}

/// Streaming read bandwidth of main memory with all cores.
///
/// Every core sums its own part of a buffer of four times the last-level cache, 256 MiB to 2 GiB.
/// The best of five passes counts, since other work can only slow a pass down. The buffer lies in
/// large pages where the system has them, as the weights of an engine can.
///
/// # Errors
///
/// [`HwError::Measurement`] when the buffer or a thread is refused.
pub fn bandwidth() -> Result<Bandwidth, HwError> {
    let cache = last_level_cache(Path::new("/")).unwrap_or(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    bandwidth_with(
        cache.saturating_mul(4).clamp(MIN_BUFFER, MAX_BUFFER),
        threads,
        PASSES,
    )
}

/// [`bandwidth`] over a buffer of `buffer_bytes`, with `threads` threads and the best of `passes`.
/// Zero threads or passes count as one.
///
/// # Errors
///
/// [`HwError::Measurement`] when the buffer or a thread is refused.
pub fn bandwidth_with(
    buffer_bytes: usize,
    threads: usize,
    passes: usize,
) -> Result<Bandwidth, HwError> {
    let threads = threads.max(1);
    let words = (buffer_bytes / WORD / threads).max(1);
    let mut parts = Vec::with_capacity(threads);
    for _ in 0..threads {
        let part = MmapMut::map_anon(words * WORD).map_err(failed)?;
        // Refused, it is measured in small pages.
        #[cfg(target_os = "linux")]
        let _ = part.advise(memmap2::Advice::HugePage);
        parts.push(part);
    }
    // Each thread writes its part first, so that pages exist and lie near the core that reads.
    thread::scope(|scope| {
        for part in &mut parts {
            thread::Builder::new()
                .spawn_scoped(scope, move || part.fill(1))
                .map_err(failed)?;
        }
        Ok(())
    })?;
    let buffer_bytes = words * WORD * threads;
    let mut bytes_per_second: f64 = 0.0;
    for _ in 0..passes.max(1) {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in &parts {
                thread::Builder::new()
                    .spawn_scoped(scope, || black_box(sum(black_box(part))))
                    .map_err(failed)?;
            }
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64().max(1e-9);
        bytes_per_second = bytes_per_second.max(buffer_bytes as f64 / seconds);
    }
    Ok(Bandwidth {
        bytes_per_second,
        buffer_bytes,
        threads,
    })
}

/// Places that a core reads at a time: it waits for more lines than with one.
const STREAMS: usize = 4;

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<WORD>().0;
    let (streams, rest) = words.split_at(words.len() / (STREAMS * 8) * STREAMS * 8);
    let (first, second) = streams.split_at(streams.len() / 2);
    let (a, b) = first.split_at(first.len() / 2);
    let (c, d) = second.split_at(second.len() / 2);
    let [a, b, c, d] = [a, b, c, d].map(|stream| stream.as_chunks::<8>().0);
    // Independent lanes keep the adds off the critical path and let the compiler use vectors.
    let mut lanes = [[0_u64; 8]; STREAMS];
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        for (lanes, words) in lanes.iter_mut().zip([a, b, c, d]) {
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = lane.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
    }
    (rest.iter().map(|word| u64::from_ne_bytes(*word)))
        .chain(lanes.into_iter().flatten())
        .fold(0, u64::wrapping_add)
}

/// Size in bytes of the largest cache of the first core, read below `root`.
fn last_level_cache(root: &Path) -> Option<usize> {
    let caches = root.join("sys/devices/system/cpu/cpu0/cache");
    std::fs::read_dir(caches)
        .ok()?
        .filter_map(|entry| {
            cache_size(&std::fs::read_to_string(entry.ok()?.path().join("size")).ok()?)
        })
        .max()
}

fn cache_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

fn failed(reason: impl ToString) -> HwError {
    HwError::Measurement {
        what: "memory bandwidth",
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffer_is_measured() {
        let measured = bandwidth_with(4 << 20, 2, 2).unwrap();
        assert!(measured.bytes_per_second > 1e6, "{measured:?}");
        assert_eq!((measured.buffer_bytes, measured.threads), (4 << 20, 2));
        assert_eq!(bandwidth_with(0, 0, 0).unwrap().threads, 1);
    }

    #[test]
    fn refused_buffer_is_an_error() {
        let error = bandwidth_with(usize::MAX, 1, 1).unwrap_err();
        assert!(matches!(error, HwError::Measurement { .. }), "{error}");
    }

    #[test]
    fn every_word_is_read_once() {
        let bytes: Vec<u8> = (0..100u64).flat_map(u64::to_ne_bytes).collect();
        assert_eq!(sum(&bytes), 4950);
    }

    #[test]
    fn cache_sizes_as_sysfs_writes_them() {
        assert_eq!(cache_size("32768K\n"), Some(32 << 20));
        assert_eq!(cache_size("12M"), Some(12 << 20));
        assert_eq!(cache_size("x"), None);
        assert_eq!(cache_size(""), None);
    }
}
