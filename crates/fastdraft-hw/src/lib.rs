#![doc = include_str!("../README.md")]

pub mod error;
pub mod measure;
pub mod open;
pub mod predict;
pub mod probe;
pub mod spec;

pub use error::HwError;
pub use open::open;
pub use probe::{DeviceInfo, DeviceKind, Runtime, probe};
pub use spec::{CardRange, CpuRuntime, DeviceSpec};
