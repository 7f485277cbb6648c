//! Learning-rate schedules over the fraction of a stage that is done.

/// Linear warm-up, then half a cosine down to `floor · peak`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Fraction of the stage spent warming up.
    pub warmup: f64,
    /// Last learning rate, as a fraction of `peak`.
    pub floor: f64,
}

impl Schedule {
    /// Warm-up over a twentieth of the stage, down to a tenth of `peak`.
    #[must_use]
    pub fn cosine(peak: f64) -> Self {
        Self {
            peak,
            warmup: 0.05,
            floor: 0.1,
        }
    }

    /// Learning rate when `done` of the stage, in `0..=1`, is over.
    ///
    /// ```
    /// use fastdraft_train::optim::schedule::Schedule;
    /// let schedule = Schedule { peak: 1.0, warmup: 0.2, floor: 0.1 };
    /// assert!((schedule.at(0.1) - 0.5).abs() < 1e-9);
    /// assert!((schedule.at(1.0) - 0.1).abs() < 1e-9);
    /// ```
    #[must_use]
    pub fn at(&self, done: f64) -> f64 {
        let done = done.clamp(0.0, 1.0);
        if done < self.warmup {
            // Never zero, so that the first step moves.
            return self.peak * (done / self.warmup).max(0.01);
        }
        let rest = (done - self.warmup) / (1.0 - self.warmup).max(f64::EPSILON);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * rest).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}
