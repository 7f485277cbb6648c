//! What can go wrong between a device string and an open device.

use std::path::PathBuf;

use crate::spec::DeviceSpec;

/// Every error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HwError {
    /// A text that names no device.
    #[error(
        "`{text}` is not a device: {reason}; accepted forms: cpu, cpu:libtorch, intel-gpu, \
         intel-gpu:N, nvidia-gpu, nvidia-gpu:N, gaudi, gaudi:N, gaudi:FIRST-LAST"
    )]
    InvalidSpec {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This build lacks the runtime of the device.
    #[error(
        "device `{spec}` needs feature `{feature}` of fastdraft-hw, which this build lacks; \
         rebuild with `--features fastdraft-hw/{feature}`"
    )]
    FeatureMissing {
        /// The device asked for.
        spec: DeviceSpec,
        /// The Cargo feature that brings its runtime.
        feature: &'static str,
    },
    /// The machine has no such device.
    #[error("device `{spec}` is absent: {probed}; {hint}")]
    Absent {
        /// The device asked for.
        spec: DeviceSpec,
        /// What was probed and what was found there.
        probed: String,
        /// How to make the device visible.
        hint: String,
    },
    /// No runtime opens the device inside this process.
    #[error("device `{spec}` cannot be opened in process: {reason}")]
    NoRuntime {
        /// The device asked for.
        spec: DeviceSpec,
        /// Why, and what to use instead.
        reason: String,
    },
    /// A measurement could not run.
    #[error("measuring {what} failed: {reason}")]
    Measurement {
        /// The quantity.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
    /// A number outside the range of its formula.
    #[error("{name} = {value} is not {accepted}")]
    OutOfRange {
        /// The input.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The values the formula takes.
        accepted: &'static str,
    },
    /// A device profile that is not here.
    #[error("no profile describes `{id}`; there are {known}, or a TOML file of one's own")]
    UnknownProfile {
        /// The profile or product asked for.
        id: String,
        /// Profiles that come with this crate.
        known: String,
    },
    /// A profile of another kind of device than the one asked for.
    #[error(
        "profile `{profile}` does not describe `{spec}`; leave the device out, or give another \
         profile"
    )]
    ProfileMismatch {
        /// The profile.
        profile: String,
        /// The device asked for.
        spec: DeviceSpec,
    },
    /// A text that is no device profile.
    #[error("not a device profile: {reason}")]
    ProfileSyntax {
        /// What is wrong, with its line.
        reason: String,
    },
    /// A tensor whose values cannot be had.
    #[error("the values of a tensor: {reason}")]
    Values {
        /// What the device says.
        reason: String,
    },
    /// A run that cannot be planned.
    #[error("{path}: {reason}")]
    InvalidPlan {
        /// Where, such as `stage[1].batch`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A run that needs more memory than a device has.
    #[error("{what} needs {needed} on {device}, which has {available} for it; what fits: {fits}")]
    DoesNotFit {
        /// The stage or model.
        what: String,
        /// The device.
        device: String,
        /// Bytes it needs.
        needed: String,
        /// Bytes there are.
        available: String,
        /// What would fit.
        fits: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or the format says.
        reason: String,
    },
}
