//! A number and where it is from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Basis {
    /// A document of the vendor says so.
    Vendor,
    /// It follows from figures that the vendor states.
    Derived,
    /// A third party reports it.
    Reported,
    /// Measured by this crate.
    Measured,
    /// Nothing that was read confirms it.
    Unverified,
    /// This crate's own guess.
    Assumed,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vendor => "vendor",
            Self::Derived => "derived",
            Self::Reported => "reported",
            Self::Measured => "measured",
            Self::Unverified => "unverified",
            Self::Assumed => "assumed",
        })
    }
}

impl Basis {
    /// Whether a forecast that uses the figure rests on something unproven.
    #[must_use]
    pub fn is_unproven(self) -> bool {
        matches!(self, Self::Unverified | Self::Assumed)
    }
}

/// A number in base units (bytes, operations, seconds) and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// How it is known.
    pub basis: Basis,
    /// Where it is from, in words.
    pub source: String,
    /// Address of the source, empty without one.
    pub url: String,
    /// When the source was published or the figure measured.
    pub date: String,
}
