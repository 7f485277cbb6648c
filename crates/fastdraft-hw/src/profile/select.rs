//! Which profile stands for a device string.

use super::{Profile, ProfileKind};
use crate::error::HwError;
use crate::measure::Measurement;
use crate::probe::{DeviceInfo, DeviceKind};
use crate::spec::DeviceSpec;

/// Fraction of the roofline that training on a processor is taken to reach.
pub(super) const CPU_EFFICIENCY: f64 = 0.35;

/// A profile, how many such devices, and why this one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// The profile.
    pub profile: Profile,
    /// Devices that the string names.
    pub count: u64,
    /// Whether this machine has them all.
    pub present: bool,
    /// Why this profile, in one sentence.
    pub reason: String,
}

impl Profile {
    /// The profile for `spec` on a machine with `devices`, as [`probe`](crate::probe()) lists them.
    ///
    /// A device that is absent is planned from the profile of another of its kind in the machine, or
    /// of its kind: Gaudi 2, Arc 140V, H100. The processor is planned from `measurement` when there is one.
    ///
    /// # Errors
    ///
    /// [`HwError::UnknownProfile`] when the device is present but no profile describes it;
    /// [`Profile::for_devices`] takes one by name.
    pub fn choose(
        spec: &DeviceSpec,
        devices: &[DeviceInfo],
        measurement: Option<&Measurement>,
    ) -> Result<Choice, HwError> {
        match *spec {
            DeviceSpec::Cpu(_) => cpu(devices, measurement),
            DeviceSpec::IntelGpu(index) => {
                let cards = of_kind(devices, DeviceKind::IntelGpu, 0, u64::MAX);
                let found = of_kind(devices, DeviceKind::IntelGpu, index.into(), 1);
                accelerator(&found, &cards, 1, ProfileKind::IntelGpu, "arc-140v")
            }
            DeviceSpec::NvidiaGpu(index) => {
                let cards = of_kind(devices, DeviceKind::NvidiaGpu, 0, u64::MAX);
                let found = of_kind(devices, DeviceKind::NvidiaGpu, index.into(), 1);
                accelerator(&found, &cards, 1, ProfileKind::NvidiaGpu, "h100")
            }
            DeviceSpec::Gaudi(cards) => {
                let (first, count) = (cards.first(), cards.count());
                let all = of_kind(devices, DeviceKind::Gaudi, 0, u64::MAX);
                let found = of_kind(devices, DeviceKind::Gaudi, first.into(), count);
                accelerator(&found, &all, count, ProfileKind::Gaudi, "gaudi-2")
            }
        }
    }
}

fn cpu(devices: &[DeviceInfo], measurement: Option<&Measurement>) -> Result<Choice, HwError> {
    let info = devices.iter().find(|info| info.kind == DeviceKind::Cpu);
    let memory = info.and_then(|info| info.memory_bytes);
    let (profile, reason) = match (measurement, memory) {
        (Some(measurement), Some(memory)) => (
            Profile::measured(measurement, memory),
            "measured on this machine".to_owned(),
        ),
        _ => (
            Profile::named("cpu-avx2-2")?,
            "this machine has not been measured, so a processor with 2 cores stands for it; \
             `cargo run --release -p fastdraft-hw --example measure` measures it"
                .to_owned(),
        ),
    };
    Ok(Choice {
        profile,
        count: 1,
        present: true,
        reason,
    })
}

pub(super) fn of_kind(
    devices: &[DeviceInfo],
    kind: DeviceKind,
    first: u64,
    count: u64,
) -> Vec<&DeviceInfo> {
    (0_u64..)
        .zip(devices.iter().filter(|info| info.kind == kind))
        .filter(|(index, _)| (first..first.saturating_add(count)).contains(index))
        .map(|(_, info)| info)
        .collect()
}

fn accelerator(
    found: &[&DeviceInfo],
    all: &[&DeviceInfo],
    count: u64,
    kind: ProfileKind,
    default: &str,
) -> Result<Choice, HwError> {
    let present = found.len() as u64 == count;
    let choice = |profile, reason| Choice {
        profile,
        count,
        present,
        reason,
    };
    if let Some(info) = found.first() {
        return match describing(info, kind)? {
            Some(profile) if present => {
                Ok(choice(profile, format!("{} is in this machine", info.name)))
            }
            Some(profile) => {
                let reason = format!("this machine has {} of them, {}", found.len(), info.name);
                Ok(choice(profile, reason))
            }
            None => Err(HwError::UnknownProfile {
                id: info.name.clone(),
                known: Profile::names().join(", "),
            }),
        };
    }
    if let Some(info) = all.first()
        && let Some(profile) = describing(info, kind)?
    {
        let reason = format!("absent here, taken to be like the {} that is", info.name);
        return Ok(choice(profile, reason));
    }
    let reason = format!("absent here; profile {default} stands for it, `--profile` names another");
    Ok(choice(Profile::named(default)?, reason))
}

/// The profile of a device, by its PCI id.
fn describing(info: &DeviceInfo, kind: ProfileKind) -> Result<Option<Profile>, HwError> {
    for name in Profile::names() {
        let profile = Profile::named(name)?;
        let same = info.device_id.is_some_and(|id| profile.pci.contains(&id));
        if profile.kind == kind && same {
            return Ok(Some(profile));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Runtime;

    fn device(kind: DeviceKind, id: u16) -> DeviceInfo {
        DeviceInfo {
            kind,
            name: format!("device {id:04x}"),
            vendor_id: None,
            device_id: Some(id),
            address: None,
            memory_bytes: Some(8 << 30),
            memory_source: None,
            runtimes: vec![Runtime::Wgpu],
            driver: None,
            driver_version: None,
            firmware_version: None,
            accel_node: None,
            numa_node: None,
            cpu: None,
        }
    }

    #[test]
    fn absent_devices_are_planned_from_a_profile_of_their_kind() {
        for (spec, id, count) in [
            ("gaudi:0-7", "gaudi-2", 8),
            ("intel-gpu:1", "arc-140v", 1),
            ("cpu", "cpu-avx2-2", 1),
        ] {
            let choice = Profile::choose(&spec.parse().unwrap(), &[], None).unwrap();
            assert_eq!((choice.profile.id.as_str(), choice.count), (id, count));
            assert_eq!(choice.present, spec == "cpu");
        }
    }

    #[test]
    fn present_devices_are_planned_from_their_own_profile() {
        let devices = [
            device(DeviceKind::Cpu, 0),
            device(DeviceKind::IntelGpu, 0x56a0),
            device(DeviceKind::IntelGpu, 0xe20b),
            device(DeviceKind::Gaudi, 0x1060),
        ];
        let choose = |spec: &str| Profile::choose(&spec.parse().unwrap(), &devices, None);
        assert_eq!(choose("intel-gpu").unwrap().profile.id, "arc-a770");
        assert_eq!(choose("intel-gpu:1").unwrap().profile.id, "arc-b580");
        let one = choose("gaudi").unwrap();
        assert_eq!((one.profile.id.as_str(), one.present), ("gaudi-3", true));
        let pair = choose("gaudi:0-1").unwrap();
        assert_eq!((pair.profile.id.as_str(), pair.present), ("gaudi-3", false));
        // Absent cards beside one that is present are of its kind.
        let other = choose("gaudi:4-7").unwrap();
        assert_eq!(
            (other.profile.id.as_str(), other.count, other.present),
            ("gaudi-3", 4, false)
        );
    }

    #[test]
    fn a_present_device_without_profile_is_an_error_that_names_it() {
        let devices = [device(DeviceKind::IntelGpu, 0x1234)];
        let error = Profile::choose(&"intel-gpu".parse().unwrap(), &devices, None).unwrap_err();
        assert!(error.to_string().contains("device 1234"), "{error}");
        let absent = Profile::choose(&"intel-gpu:1".parse().unwrap(), &devices, None).unwrap();
        assert_eq!(
            (absent.profile.id.as_str(), absent.present),
            ("arc-140v", false)
        );
        let named = Profile::named("arc-b580").unwrap();
        let planned = named
            .for_devices(&"intel-gpu".parse().unwrap(), &devices)
            .unwrap();
        assert!(!planned.present, "it is another device");
    }
}
