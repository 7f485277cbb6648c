//! The one string that names a device.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::HwError;

/// What runs tensors on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CpuRuntime {
    /// Burn's own CPU backend, pure Rust.
    #[default]
    Flex,
    /// PyTorch's C++ library.
    LibTorch,
}

/// Consecutive cards, `first` to `last` inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CardRange {
    first: u32,
    last: u32,
}

impl CardRange {
    /// The cards `first` to `last` inclusive, `None` when `first > last`.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The first card.
    #[must_use]
    pub fn first(self) -> u32 {
        self.first
    }

    /// The last card.
    #[must_use]
    pub fn last(self) -> u32 {
        self.last
    }

    /// How many cards, at least one.
    #[must_use]
    pub fn count(self) -> u64 {
        u64::from(self.last) - u64::from(self.first) + 1
    }
}

/// A device by name: `cpu`, `cpu:libtorch`, `intel-gpu`, `intel-gpu:1`, `nvidia-gpu`, `gaudi`,
/// `gaudi:0-7`.
///
/// Without a number the first card is meant: `intel-gpu` and `intel-gpu:0` are one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The processor.
    Cpu(CpuRuntime),
    /// One Intel GPU, in PCI order.
    IntelGpu(u32),
    /// One NVIDIA GPU, in PCI order.
    NvidiaGpu(u32),
    /// Gaudi cards, in PCI order.
    Gaudi(CardRange),
}

impl Default for DeviceSpec {
    fn default() -> Self {
        Self::Cpu(CpuRuntime::default())
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cpu(CpuRuntime::Flex) => f.pad("cpu"),
            Self::Cpu(CpuRuntime::LibTorch) => f.pad("cpu:libtorch"),
            Self::IntelGpu(0) => f.pad("intel-gpu"),
            Self::IntelGpu(index) => f.pad(&format!("intel-gpu:{index}")),
            Self::NvidiaGpu(0) => f.pad("nvidia-gpu"),
            Self::NvidiaGpu(index) => f.pad(&format!("nvidia-gpu:{index}")),
            Self::Gaudi(CardRange { first: 0, last: 0 }) => f.pad("gaudi"),
            Self::Gaudi(CardRange { first, last }) if first == last => {
                f.pad(&format!("gaudi:{first}"))
            }
            Self::Gaudi(CardRange { first, last }) => f.pad(&format!("gaudi:{first}-{last}")),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = HwError;

    /// # Errors
    ///
    /// [`HwError::InvalidSpec`] with the text and the accepted forms.
    fn from_str(text: &str) -> Result<Self, HwError> {
        parse(text).map_err(|reason| HwError::InvalidSpec {
            text: text.to_owned(),
            reason,
        })
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = HwError;

    fn try_from(text: String) -> Result<Self, HwError> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

fn parse(text: &str) -> Result<DeviceSpec, String> {
    let (kind, argument) = match text.split_once(':') {
        Some((kind, argument)) => (kind, Some(argument)),
        None => (text, None),
    };
    match (kind, argument) {
        ("cpu", None) => Ok(DeviceSpec::Cpu(CpuRuntime::Flex)),
        ("cpu", Some("libtorch")) => Ok(DeviceSpec::Cpu(CpuRuntime::LibTorch)),
        ("cpu", Some(other)) => Err(format!("unknown CPU runtime `{other}`")),
        ("intel-gpu", None) => Ok(DeviceSpec::IntelGpu(0)),
        ("intel-gpu", Some(index)) => Ok(DeviceSpec::IntelGpu(number(index)?)),
        ("nvidia-gpu", index) => Ok(DeviceSpec::NvidiaGpu(number(index.unwrap_or("0"))?)),
        ("gaudi", argument) => cards(argument.unwrap_or("0")).map(DeviceSpec::Gaudi),
        ("", _) => Err("the device kind is empty".to_owned()),
        (other, _) => Err(format!("unknown device kind `{other}`")),
    }
}

fn cards(text: &str) -> Result<CardRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    CardRange::new(first, last).ok_or_else(|| format!("range {first}-{last} runs backwards"))
}

fn number(text: &str) -> Result<u32, String> {
    // `u32::from_str` alone would take `+1`.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` is not a card number"));
    }
    text.parse()
        .map_err(|_| format!("card number `{text}` is above {}", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts_round_trip() {
        for text in [
            "cpu",
            "cpu:libtorch",
            "intel-gpu",
            "intel-gpu:1",
            "nvidia-gpu",
            "nvidia-gpu:2",
            "gaudi",
            "gaudi:3",
            "gaudi:0-7",
        ] {
            let spec: DeviceSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<DeviceSpec>(&json).unwrap(), spec);
        }
    }

    #[test]
    fn explicit_first_card_is_the_default_card() {
        assert_eq!("intel-gpu:0".parse(), "intel-gpu".parse::<DeviceSpec>());
        assert_eq!("nvidia-gpu:0".parse(), "nvidia-gpu".parse::<DeviceSpec>());
        assert_eq!("gaudi:0-0".parse(), "gaudi".parse::<DeviceSpec>());
        assert_eq!(
            "gaudi:0-7".parse(),
            Ok(DeviceSpec::Gaudi(CardRange { first: 0, last: 7 }))
        );
    }

    #[test]
    fn display_honours_width() {
        assert_eq!(format!("{:>5}|", DeviceSpec::default()), "  cpu|");
    }

    #[test]
    fn errors_name_the_text_and_the_forms() {
        for text in [
            "",
            ":",
            "CPU",
            "cpu:",
            "cpu:cuda",
            "cuda",
            "intel-gpu:",
            "intel-gpu:x",
            "intel-gpu:+1",
            "intel-gpu:-1",
            "nvidia-gpu:",
            "nvidia-gpu:0-1",
            "intel-gpu:4294967296",
            "gaudi:",
            "gaudi:7-0",
            "gaudi:0-",
            "gaudi:-7",
            "gaudi:0-7-9",
            "gaudi:0,1",
            " cpu",
            "cpu ",
            "gaudi:٣",
        ] {
            let error = text.parse::<DeviceSpec>().unwrap_err();
            let message = error.to_string();
            assert!(message.contains(&format!("`{text}`")), "{message}");
            assert!(message.contains("gaudi:FIRST-LAST"), "{message}");
        }
        let error = serde_json::from_str::<DeviceSpec>("\"tpu\"").unwrap_err();
        assert!(
            error.to_string().contains("unknown device kind `tpu`"),
            "{error}"
        );
    }

    #[test]
    fn anything_that_parses_displays_as_itself_again() {
        let pieces = [
            "cpu",
            "gaudi",
            "intel-gpu",
            "nvidia-gpu",
            ":",
            "-",
            "0",
            "7",
            "12",
            "libtorch",
            " ",
            "é",
        ];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for d in pieces {
                        let text = format!("{a}{b}{c}{d}");
                        if let Ok(spec) = text.parse::<DeviceSpec>() {
                            assert_eq!(spec.to_string().parse(), Ok(spec), "{text}");
                        }
                    }
                }
            }
        }
    }
}
