//! Tokens and seconds of generations, with their prompts and without.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Speeds behind the prompt: from the end of the first pass, which reads it, to the last token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DecodeSpeed {
    /// Plain decoding.
    pub plain_tokens_per_s: f64,
    /// Speculative decoding.
    pub speculative_tokens_per_s: f64,
    /// Speculative over plain, wall clock.
    pub speedup: f64,
}

impl DecodeSpeed {
    pub(super) fn new(plain: &Speed, speculative: &Speed) -> Self {
        let (plain, speculative) = (plain.decoding.rate(), speculative.decoding.rate());
        Self {
            plain_tokens_per_s: plain,
            speculative_tokens_per_s: speculative,
            speedup: over(speculative, plain),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Count {
    tokens: u64,
    seconds: f64,
}

impl Count {
    /// Tokens a second.
    pub(super) fn rate(self) -> f64 {
        over(self.tokens as f64, self.seconds)
    }

    fn add(&mut self, tokens: u64, seconds: f64) {
        self.tokens += tokens;
        self.seconds += seconds;
    }
}

pub(super) fn over(a: f64, b: f64) -> f64 {
    a / b.max(1e-9)
}

/// What the generations of a task took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Speed {
    /// With their prompts.
    pub(super) whole: Count,
    /// Without what the first pass took and gave.
    pub(super) decoding: Count,
}

/// Times one generation.
pub(super) struct Stopwatch {
    start: Instant,
    /// When the first pass had ended, and its tokens.
    first: Option<(Instant, u64)>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            first: None,
        }
    }

    /// Takes note of a pass that gave `tokens`.
    pub(super) fn pass(&mut self, tokens: usize) {
        self.first
            .get_or_insert_with(|| (Instant::now(), tokens as u64));
    }

    /// Adds the generation of `tokens` tokens that ends now.
    pub(super) fn add_to(&self, speed: &mut Speed, tokens: u64) {
        let end = Instant::now();
        let seconds = |from| end.duration_since(from).as_secs_f64();
        speed.whole.add(tokens, seconds(self.start));
        if let Some((first, given)) = self.first {
            speed
                .decoding
                .add(tokens.saturating_sub(given), seconds(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_pass_is_left_out_of_decoding() {
        let mut watch = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(20));
        watch.pass(3);
        watch.pass(2);
        let mut speed = Speed::default();
        watch.add_to(&mut speed, 5);
        assert_eq!((speed.whole.tokens, speed.decoding.tokens), (5, 2));
        assert!(speed.whole.seconds - speed.decoding.seconds >= 0.02);
        Stopwatch::start().add_to(&mut speed, 0);
        assert_eq!((speed.whole.tokens, speed.decoding.tokens), (5, 2));
    }

    #[test]
    fn nothing_measured_is_no_division_by_zero() {
        assert_eq!(Count::default().rate(), 0.0);
        assert_eq!(
            DecodeSpeed::new(&Speed::default(), &Speed::default()).speedup,
            0.0
        );
    }
}
