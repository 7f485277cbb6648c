//! Where a session gets the time from.

/// Seconds from any fixed moment; every `FnMut() -> f64` is one.
pub trait Clock {
    /// The present time in seconds.
    fn seconds(&mut self) -> f64;
}

impl<F: FnMut() -> f64> Clock for F {
    fn seconds(&mut self) -> f64 {
        self()
    }
}

/// A clock that stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoClock;

impl Clock for NoClock {
    fn seconds(&mut self) -> f64 {
        0.0
    }
}

/// The operating system's monotonic clock.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(std::time::Instant);

#[cfg(feature = "std")]
impl Default for SystemClock {
    fn default() -> Self {
        Self(std::time::Instant::now())
    }
}

#[cfg(feature = "std")]
impl Clock for SystemClock {
    fn seconds(&mut self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
