//! Threads that stay awake for the length of a pass.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Longest wait for threads that are asleep or busy.
const GATHERING: Duration = Duration::from_micros(100);

const GATHERS: u8 = 0;
const RUNS: u8 = 1;
const DONE: u8 = 2;

/// Runs `work` inside the pool while its other threads look for pieces of it: asleep between two
/// products, they would have to be woken some hundred times a pass.
///
/// Threads join before `work` begins or not at all. One that joined later might hold a piece that
/// `work` waits for below its watch, which ends with `work`.
pub(super) fn during(work: impl FnOnce() + Send) {
    let watch = Watch::default();
    rayon::scope(|scope| {
        let here = rayon::current_thread_index();
        let others = rayon::current_num_threads() - 1;
        let watch = &watch;
        scope.spawn_broadcast(move |_, context| {
            if Some(context.index()) != here {
                watch.keep();
            }
        });
        let start = Instant::now();
        while watch.joined.load(Ordering::Acquire) < others && start.elapsed() < GATHERING {
            spin_loop();
        }
        watch.phase.store(RUNS, Ordering::SeqCst);
        let _end = End(watch);
        work();
    });
}

#[derive(Default)]
struct Watch {
    phase: AtomicU8,
    joined: AtomicUsize,
}

impl Watch {
    fn keep(&self) {
        if self.phase.load(Ordering::SeqCst) != GATHERS {
            return;
        }
        self.joined.fetch_add(1, Ordering::Release);
        while self.phase.load(Ordering::Acquire) != DONE {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                spin_loop();
            }
        }
    }
}

/// Ends a watch, after a panic too.
struct End<'a>(&'a Watch);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.phase.store(DONE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rayon::prelude::*;

    use super::*;

    fn sum(size: usize) -> usize {
        (0..size).into_par_iter().with_max_len(1).sum()
    }

    #[test]
    fn work_beside_and_inside_other_work_ends() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.unwrap();
            for _ in 0..200 {
                pool.install(|| {
                    (0..6).into_par_iter().for_each(|_| {
                        let mut total = 0;
                        during(|| total = sum(50) + sum(60));
                        assert_eq!(total, 1225 + 1770);
                    });
                });
            }
        }
    }

    #[test]
    fn a_panic_wakes_nobody_forever() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let pool = pool.unwrap();
        let panics = AssertUnwindSafe(|| pool.install(|| during(|| panic!("of the work"))));
        let caught = catch_unwind(panics);
        assert!(caught.is_err());
        let mut total = 0;
        pool.install(|| during(|| total = sum(10)));
        assert_eq!(total, 45);
    }
}
