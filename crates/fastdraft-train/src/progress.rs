//! Progress for a person: a bar on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

const UNITS: u64 = 1000;
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Progress of one piece of work, as a fraction.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    printed: Option<Instant>,
    quiet: bool,
}

impl Progress {
    /// Starts showing `name`.
    #[must_use]
    pub fn start(name: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(UNITS);
            if let Ok(style) = ProgressStyle::with_template(
                "{prefix:<22} {bar:30} {percent:>3}%  {elapsed_precise} eta {eta_precise}  {msg}",
            ) {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            started: Instant::now(),
            printed: None,
            quiet: false,
        }
    }

    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self {
            name: String::new(),
            bar: None,
            started: Instant::now(),
            printed: None,
            quiet: true,
        }
    }

    /// `done` of the work, in `0..=1`, is over.
    pub fn set(&mut self, done: f64, message: &str) {
        let done = done.clamp(0.0, 1.0);
        if let Some(bar) = &self.bar {
            bar.set_position((done * UNITS as f64) as u64);
            bar.set_message(message.to_owned());
            return;
        }
        if self.quiet || self.printed.is_some_and(|at| at.elapsed() < PLAIN_EVERY) {
            return;
        }
        self.printed = Some(Instant::now());
        let elapsed = self.started.elapsed().as_secs_f64();
        // An estimate from the first steps would be wild.
        let eta = if done > 0.01 {
            format!("eta {:.0} s", elapsed / done - elapsed)
        } else {
            "eta -".to_owned()
        };
        eprintln!("{:<22} {:>3.0}%  {eta}  {message}", self.name, done * 100.0);
    }

    /// The work is over; the last line stays.
    pub fn finish(self, message: &str) {
        if self.quiet {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{:<22} {seconds:>6.1} s  {message}", self.name);
    }
}
