//! How many tokens a step drafts.

use std::{fmt, str::FromStr};

use fastdraft_specdec::gamma::{ConfidenceThreshold, CostAwareThreshold, Fixed, GammaPolicy};

/// What decides how many tokens a step drafts, up to γ.
///
/// Written `fixed`, `cost-aware`, or the probability itself.
///
/// ```
/// use fastdraft_train::evaluate::DraftLength;
/// assert_eq!("0.4".parse(), Ok(DraftLength::StopBelow(0.4)));
/// assert_eq!(DraftLength::CostAware.to_string(), "cost-aware");
/// assert!("4".parse::<DraftLength>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum DraftLength {
    /// γ tokens.
    #[default]
    Fixed,
    /// Drafting ends behind a token to which the draft gave less probability
    /// ([`ConfidenceThreshold`]).
    StopBelow(f64),
    /// That probability follows from measured times, and nothing is drafted where it does not pay
    /// ([`CostAwareThreshold`]).
    CostAware,
}

impl DraftLength {
    /// The policy of one generation, or of several one after the other; it needs a clock when it is
    /// [`Self::CostAware`].
    #[must_use]
    pub fn policy(self, gamma: usize) -> Box<dyn GammaPolicy> {
        match self {
            Self::Fixed => Box::new(Fixed(gamma)),
            Self::StopBelow(threshold) => Box::new(ConfidenceThreshold {
                max: gamma,
                threshold,
            }),
            Self::CostAware => Box::new(CostAwareThreshold::new(1, gamma)),
        }
    }
}

impl fmt::Display for DraftLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed"),
            Self::StopBelow(threshold) => threshold.fmt(f),
            Self::CostAware => f.write_str("cost-aware"),
        }
    }
}

impl FromStr for DraftLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fixed" => Ok(Self::Fixed),
            "cost-aware" => Ok(Self::CostAware),
            _ => match text.parse() {
                Ok(threshold) if (0.0..=1.0).contains(&threshold) => Ok(Self::StopBelow(threshold)),
                _ => Err(format!(
                    "`{text}` is not `fixed`, `cost-aware` or a probability"
                )),
            },
        }
    }
}
