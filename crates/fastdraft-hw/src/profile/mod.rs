//! What a data sheet says about a device, figure by figure with its source.
//!
//! ```
//! use fastdraft_hw::profile::Profile;
//!
//! let gaudi = Profile::named("gaudi-2")?;
//! assert_eq!(gaudi.matmul.value, 432e12);
//! assert!(gaudi.matmul.url.starts_with("https://"));
//! # Ok::<(), fastdraft_hw::HwError>(())
//! ```

mod figure;
mod select;
mod stand_in;

use serde::{Deserialize, Serialize};

pub use figure::{Basis, Figure};
pub use select::Choice;

use crate::error::HwError;
use crate::measure::Measurement;

const SHIPPED: [(&str, &str); 7] = [
    ("gaudi-2", include_str!("../../profiles/gaudi-2.toml")),
    ("gaudi-3", include_str!("../../profiles/gaudi-3.toml")),
    ("arc-140v", include_str!("../../profiles/arc-140v.toml")),
    ("arc-a770", include_str!("../../profiles/arc-a770.toml")),
    ("arc-b580", include_str!("../../profiles/arc-b580.toml")),
    ("h100", include_str!("../../profiles/h100.toml")),
    ("cpu-avx2-2", include_str!("../../profiles/cpu-avx2-2.toml")),
];

/// The kind of device that a profile describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProfileKind {
    /// A processor.
    Cpu,
    /// An Intel GPU.
    IntelGpu,
    /// A Gaudi card.
    Gaudi,
    /// An NVIDIA GPU.
    NvidiaGpu,
    /// A device that this crate cannot open, for comparison.
    Other,
}

/// Number format of the matrix products in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 4 bytes.
    F32,
    /// 2 bytes; weights are also kept in 4.
    Bf16,
}

impl Dtype {
    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Bf16 => 2.0,
        }
    }
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, `gaudi-2`.
    pub id: String,
    /// Product name.
    pub name: String,
    /// Kind.
    pub kind: ProfileKind,
    /// Number format that the rate of matrix products is for.
    pub dtype: Dtype,
    /// PCI device ids of the product.
    #[serde(default)]
    pub pci: Vec<u16>,
    /// Floating-point operations per second in matrix products, without sparsity.
    pub matmul: Figure,
    /// Bytes per second from the device's memory.
    pub bandwidth: Figure,
    /// Bytes of memory that training may use.
    pub memory: Figure,
    /// Bytes per second from one device to its neighbours, one way.
    #[serde(default)]
    pub interconnect: Option<Figure>,
    /// Seconds of one operation on next to no data.
    #[serde(default)]
    pub launch_overhead: Option<Figure>,
    /// Fraction of the roofline that a training step reaches.
    pub efficiency: Figure,
}

impl Profile {
    /// Short names of the profiles that come with this crate.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        SHIPPED.iter().map(|(id, _)| *id).collect()
    }

    /// A profile that comes with this crate.
    ///
    /// # Errors
    ///
    /// [`HwError::UnknownProfile`] with the names there are.
    pub fn named(id: &str) -> Result<Self, HwError> {
        let text = SHIPPED.iter().find(|(name, _)| *name == id);
        let (_, text) = text.ok_or_else(|| HwError::UnknownProfile {
            id: id.to_owned(),
            known: Self::names().join(", "),
        })?;
        Self::parse(text)
    }

    /// A profile that comes with this crate, or one in a TOML file of that path.
    ///
    /// # Errors
    ///
    /// As [`Profile::named`] where there is no such file; [`HwError::File`] for one that cannot be
    /// read, and as [`Profile::parse`].
    pub fn find(name_or_path: &str) -> Result<Self, HwError> {
        let path = std::path::Path::new(name_or_path);
        if Self::names().contains(&name_or_path) || !path.is_file() {
            return Self::named(name_or_path);
        }
        let text = std::fs::read_to_string(path).map_err(|error| HwError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Self::parse(&text)
    }

    /// Reads a profile from TOML.
    ///
    /// # Errors
    ///
    /// [`HwError::ProfileSyntax`] for text that is no profile, [`HwError::OutOfRange`] for a figure
    /// that is not above 0 or an efficiency above 1.
    pub fn parse(text: &str) -> Result<Self, HwError> {
        let profile: Self = toml::from_str(text).map_err(|error| HwError::ProfileSyntax {
            reason: error.to_string(),
        })?;
        profile.check()?;
        Ok(profile)
    }

    /// The processor that [`measure`](crate::measure) has measured. `memory_bytes` is main memory,
    /// of which half is left to the system.
    #[must_use]
    pub fn measured(measurement: &Measurement, memory_bytes: u64) -> Self {
        let figure = |value: f64, source: &str| Figure {
            value,
            basis: Basis::Measured,
            source: source.to_owned(),
            url: String::new(),
            date: String::new(),
        };
        Self {
            id: format!("measured-{}", measurement.fingerprint),
            name: measurement.device.clone(),
            kind: ProfileKind::Cpu,
            dtype: Dtype::F32,
            pci: Vec::new(),
            matmul: figure(measurement.best_gemm_rate(), "best GEMM rate over sizes"),
            bandwidth: figure(
                measurement.bandwidth.bytes_per_second,
                "streaming read of main memory",
            ),
            memory: figure(memory_bytes as f64 / 2.0, "half of main memory"),
            interconnect: None,
            launch_overhead: Some(figure(
                measurement.launch_overhead,
                "a product of 1×1 matrices",
            )),
            efficiency: Figure {
                basis: Basis::Assumed,
                ..figure(
                    select::CPU_EFFICIENCY,
                    "the assumption of profile cpu-avx2-2",
                )
            },
        }
    }

    /// Every figure with its name, those that are absent left out.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        [
            ("matmul", Some(&self.matmul)),
            ("bandwidth", Some(&self.bandwidth)),
            ("memory", Some(&self.memory)),
            ("interconnect", self.interconnect.as_ref()),
            ("launch_overhead", self.launch_overhead.as_ref()),
            ("efficiency", Some(&self.efficiency)),
        ]
        .into_iter()
        .filter_map(|(name, figure)| Some((name, figure?)))
    }

    fn check(&self) -> Result<(), HwError> {
        for (name, figure) in self.figures() {
            if !(figure.value.is_finite() && figure.value > 0.0) {
                return Err(HwError::OutOfRange {
                    name,
                    value: figure.value,
                    accepted: "finite and above 0",
                });
            }
        }
        if self.efficiency.value > 1.0 {
            return Err(HwError::OutOfRange {
                name: "efficiency",
                value: self.efficiency.value,
                accepted: "at most 1",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_profiles_parse_and_say_where_each_figure_is_from() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.id, name);
            for (what, figure) in profile.figures() {
                assert!(!figure.source.is_empty(), "{name}.{what}");
                assert!(!figure.date.is_empty(), "{name}.{what}");
                let cited = matches!(
                    figure.basis,
                    Basis::Vendor | Basis::Derived | Basis::Reported
                );
                let address = figure.url.starts_with("https://");
                assert!(address || !cited, "{name}.{what} has no address");
            }
        }
    }

    #[test]
    fn no_gaudi_or_intel_gpu_figure_claims_to_be_measured() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            let measured = profile
                .figures()
                .any(|(_, figure)| figure.basis == Basis::Measured);
            assert_eq!(measured, profile.kind == ProfileKind::Cpu, "{name}");
        }
    }

    #[test]
    fn an_efficiency_that_nobody_measured_is_called_an_assumption() {
        for name in Profile::names() {
            let efficiency = Profile::named(name).unwrap().efficiency;
            assert_eq!(efficiency.basis, Basis::Assumed, "{name}");
        }
    }

    #[test]
    fn a_file_is_a_profile_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my-card.toml");
        let text = include_str!("../../profiles/gaudi-2.toml").replace("gaudi-2", "my-card");
        std::fs::write(&path, text).unwrap();
        let found = Profile::find(path.to_str().unwrap()).unwrap();
        assert_eq!(found.id, "my-card");
        assert_eq!(Profile::find("gaudi-2").unwrap().id, "gaudi-2");
        let error = Profile::find("missing.toml").unwrap_err().to_string();
        assert!(error.contains("`missing.toml`"), "{error}");
        std::fs::write(&path, "id = 1").unwrap();
        assert!(Profile::find(path.to_str().unwrap()).is_err());
    }

    #[test]
    fn bad_profiles_are_refused() {
        let text = include_str!("../../profiles/gaudi-2.toml");
        for (from, to, expected) in [
            ("432e12", "0", "matmul"),
            ("432e12", "inf", "matmul"),
            ("0.30", "1.5", "at most 1"),
            ("[memory]", "[memry]", "memry"),
            ("vendor", "hearsay", "hearsay"),
        ] {
            let error = Profile::parse(&text.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = Profile::named("tpu").unwrap_err().to_string();
        assert!(
            error.contains("`tpu`") && error.contains("gaudi-3"),
            "{error}"
        );
    }
}
