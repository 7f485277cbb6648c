#![doc = include_str!("../README.md")]

#[cfg(feature = "runtime")]
pub mod conformance;
pub mod error;
pub mod measure;
#[cfg(feature = "runtime")]
pub mod open;
pub mod plan;
pub mod predict;
pub mod probe;
pub mod profile;
pub mod report;
pub mod shape;
pub mod spec;
#[cfg(any(feature = "flex", feature = "tch"))]
pub mod values;

pub use error::HwError;
#[cfg(feature = "runtime")]
pub use open::{is_cpu, open};
pub use probe::{DeviceInfo, DeviceKind, Runtime, probe};
pub use spec::{CardRange, CpuRuntime, DeviceSpec};
#[cfg(any(feature = "flex", feature = "tch"))]
pub use values::HostValues;
