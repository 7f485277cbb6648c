//! One set of operator and model checks for every runtime.
//!
//! A small decoder is run forward, backward, through optimizer steps and token by token with cached
//! keys and values, and compared with the same arithmetic in `f64` on the host; gradients of the
//! host are central differences. `cargo run --release -p fastdraft-hw --example conformance --
//! DEVICE`, with the feature of the device's runtime, runs it by hand.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use fastdraft_hw::{conformance, open};
//!
//! let findings = conformance::run(&open(&"cpu".parse()?)?);
//! assert!(findings.iter().all(|finding| !finding.failed()));
//! # }
//! # Ok::<(), fastdraft_hw::HwError>(())
//! ```

mod checks;
mod decoder;
mod oracle;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device agrees with the host.
    Passed,
    /// The device says that it lacks the number format.
    Unsupported,
    /// It does not agree, or broke down.
    Failed(String),
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its name, such as `backward`.
    pub check: &'static str,
    /// How it came out.
    pub outcome: Outcome,
}

impl Finding {
    /// Whether the device failed it.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "{:<16} ok", self.check),
            Outcome::Unsupported => write!(f, "{:<16} unsupported", self.check),
            Outcome::Failed(reason) => write!(f, "{:<16} FAILED: {reason}", self.check),
        }
    }
}

/// Runs every check on `device`. A panic of the runtime is a failed check, not the end of the run.
#[must_use]
pub fn run(device: &Device) -> Vec<Finding> {
    checks::ALL
        .iter()
        .map(|(check, body)| Finding {
            check,
            outcome: catch_unwind(AssertUnwindSafe(|| body(device))).unwrap_or_else(|payload| {
                let text = payload
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| payload.downcast_ref::<&str>().copied());
                Outcome::Failed(format!("panicked: {}", text.unwrap_or("without a message")))
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "flex")]
    fn flex_conforms() {
        for finding in run(&Device::flex()) {
            assert!(!finding.failed(), "{finding}");
        }
    }

    #[test]
    #[cfg(feature = "tch")]
    #[allow(deprecated)] // Burn 0.22 is the last release with libtorch, hence the version pin.
    fn libtorch_conforms() {
        for finding in run(&Device::libtorch()) {
            assert!(!finding.failed(), "{finding}");
        }
    }

    #[test]
    fn a_wrong_result_is_noticed() {
        assert_eq!(
            checks::compare(&[1.0, 2.0], &[1.0, 2.0], 1e-6),
            Outcome::Passed
        );
        for wrong in [&[1.0, 2.1][..], &[1.0], &[1.0, f64::NAN]] {
            let outcome = checks::compare(wrong, &[1.0, 2.0], 1e-3);
            assert!(matches!(outcome, Outcome::Failed(_)), "{wrong:?}");
        }
    }
}
