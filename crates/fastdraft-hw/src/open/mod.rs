//! From a device string to a Burn device.

use burn::tensor::Device;

use crate::error::HwError;
use crate::spec::{CpuRuntime, DeviceSpec};

#[cfg(feature = "wgpu")]
mod wgpu;

/// Opens the device that `spec` names, never another one.
///
/// # Errors
///
/// [`HwError::FeatureMissing`] when this build lacks the runtime, [`HwError::Absent`] when the
/// machine lacks the device, [`HwError::NoRuntime`] for Gaudi, which Burn cannot drive.
pub fn open(spec: &DeviceSpec) -> Result<Device, HwError> {
    match *spec {
        DeviceSpec::Cpu(CpuRuntime::Flex) => flex(*spec),
        DeviceSpec::Cpu(CpuRuntime::LibTorch) => libtorch(*spec),
        DeviceSpec::IntelGpu(_) | DeviceSpec::NvidiaGpu(_) => gpu(*spec),
        DeviceSpec::Gaudi(_) => Err(HwError::NoRuntime {
            spec: *spec,
            reason: "Burn has no HPU runtime; train and generate on Gaudi through the torch \
                     worker (PyTorch with device `hpu`), or generate through an \
                     OpenAI-compatible endpoint (vLLM on Gaudi)"
                .to_owned(),
        }),
    }
}

/// Whether tensors of `device` lie in the memory of this machine, whatever the runtime.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    [CpuRuntime::Flex, CpuRuntime::LibTorch]
        .into_iter()
        .filter_map(|runtime| open(&DeviceSpec::Cpu(runtime)).ok())
        .any(|cpu| cpu == *device)
}

#[cfg(feature = "flex")]
fn flex(_spec: DeviceSpec) -> Result<Device, HwError> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn flex(spec: DeviceSpec) -> Result<Device, HwError> {
    Err(HwError::FeatureMissing {
        spec,
        feature: "flex",
    })
}

#[cfg(feature = "tch")]
#[allow(deprecated)] // Burn 0.22 is the last release with libtorch, hence the version pin.
fn libtorch(_spec: DeviceSpec) -> Result<Device, HwError> {
    Ok(Device::libtorch())
}

#[cfg(not(feature = "tch"))]
fn libtorch(spec: DeviceSpec) -> Result<Device, HwError> {
    Err(HwError::FeatureMissing {
        spec,
        feature: "tch",
    })
}

#[cfg(feature = "wgpu")]
fn gpu(spec: DeviceSpec) -> Result<Device, HwError> {
    wgpu::open(spec)
}

#[cfg(not(feature = "wgpu"))]
fn gpu(spec: DeviceSpec) -> Result<Device, HwError> {
    Err(HwError::FeatureMissing {
        spec,
        feature: "wgpu",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "flex")]
    fn cpu_opens() {
        let device = open(&DeviceSpec::default()).unwrap();
        assert!(!device.is_autodiff() && is_cpu(&device));
    }

    #[test]
    #[cfg(not(feature = "tch"))]
    fn missing_feature_is_named() {
        let error = open(&"cpu:libtorch".parse().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("--features fastdraft-hw/tch"),
            "{error}"
        );
    }

    #[test]
    #[cfg(not(feature = "wgpu"))]
    fn a_gpu_never_becomes_the_cpu() {
        for name in ["intel-gpu:1", "nvidia-gpu"] {
            let error = open(&name.parse().unwrap()).unwrap_err();
            let expected = format!("`{name}` needs feature `wgpu`");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }

    #[test]
    #[cfg(feature = "wgpu")]
    fn an_absent_gpu_is_an_error() {
        for name in ["intel-gpu:63", "nvidia-gpu:63"] {
            let error = open(&name.parse().unwrap()).unwrap_err();
            assert!(matches!(error, HwError::Absent { .. }), "{error}");
        }
    }

    #[test]
    fn gaudi_says_what_to_use() {
        let error = open(&"gaudi:0-7".parse().unwrap()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("no HPU runtime"), "{message}");
        assert!(message.contains("torch worker") && message.contains("OpenAI-compatible"));
    }
}
