//! A named profile in place of the one that a device string leads to.

use super::{Choice, Profile, ProfileKind};
use crate::error::HwError;
use crate::probe::{DeviceInfo, DeviceKind};
use crate::spec::DeviceSpec;

impl Profile {
    /// This profile for the devices that `spec` names on a machine with `devices`, which may lack
    /// them: nothing is opened.
    ///
    /// ```
    /// use fastdraft_hw::profile::Profile;
    ///
    /// let eight = Profile::named("gaudi-3")?.for_devices(&"gaudi:0-7".parse()?, &[])?;
    /// assert_eq!((eight.count, eight.present), (8, false));
    /// # Ok::<(), fastdraft_hw::HwError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HwError::ProfileMismatch`] when the profile is of another kind of device.
    pub fn for_devices(self, spec: &DeviceSpec, devices: &[DeviceInfo]) -> Result<Choice, HwError> {
        let (kind, listed, first, count) = match *spec {
            DeviceSpec::Cpu(_) => (ProfileKind::Cpu, DeviceKind::Cpu, 0, 1),
            DeviceSpec::IntelGpu(index) => {
                (ProfileKind::IntelGpu, DeviceKind::IntelGpu, index.into(), 1)
            }
            DeviceSpec::NvidiaGpu(index) => (
                ProfileKind::NvidiaGpu,
                DeviceKind::NvidiaGpu,
                index.into(),
                1,
            ),
            DeviceSpec::Gaudi(cards) => (
                ProfileKind::Gaudi,
                DeviceKind::Gaudi,
                u64::from(cards.first()),
                cards.count(),
            ),
        };
        if self.kind != kind {
            return Err(HwError::ProfileMismatch {
                profile: self.id,
                spec: *spec,
            });
        }
        let found = super::select::of_kind(devices, listed, first, count);
        let same = |info: &&DeviceInfo| info.device_id.is_some_and(|id| self.pci.contains(&id));
        let present = found.len() as u64 == count && found.iter().all(same);
        let reason = if present {
            format!("profile {}, as asked; this machine has it", self.id)
        } else {
            format!(
                "profile {}, as asked; this machine is not known to have it",
                self.id
            )
        };
        Ok(Choice {
            profile: self,
            count,
            present,
            reason,
        })
    }

    /// This profile for `count` devices of its kind, wherever they are.
    #[must_use]
    pub fn for_count(self, count: u64) -> Choice {
        let reason = format!("profile {}, as asked", self.id);
        Choice {
            profile: self,
            count,
            present: false,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_devices_are_planned_from_any_profile_of_their_kind() {
        for (spec, id, count) in [
            ("gaudi:0-7", "gaudi-3", 8),
            ("intel-gpu:3", "arc-b580", 1),
            ("cpu", "cpu-avx2-2", 1),
        ] {
            let choice = Profile::named(id)
                .unwrap()
                .for_devices(&spec.parse().unwrap(), &[])
                .unwrap();
            assert_eq!((choice.profile.id.as_str(), choice.count), (id, count));
            assert!(!choice.present);
        }
        assert_eq!(Profile::named("h100").unwrap().for_count(8).count, 8);
    }

    #[test]
    fn a_profile_of_another_kind_is_an_error_that_names_both() {
        for (spec, id) in [
            ("cpu", "gaudi-2"),
            ("gaudi", "h100"),
            ("intel-gpu", "gaudi-2"),
        ] {
            let error = Profile::named(id)
                .unwrap()
                .for_devices(&spec.parse().unwrap(), &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(id) && error.contains(spec), "{error}");
        }
    }
}
