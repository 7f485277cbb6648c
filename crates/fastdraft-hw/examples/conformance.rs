//! Checks the runtime of a device: `conformance DEVICE`, such as `cpu`, `cpu:libtorch`, `intel-gpu`,
//! `nvidia-gpu`.
//!
//! With feature `wgpu`, `conformance software` runs on a software adapter, such as Mesa's lavapipe: it
//! checks the shaders where there is no GPU.

use std::process::ExitCode;

use burn::tensor::Device;
use fastdraft_hw::{conformance, open};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let spec = std::env::args().nth(1).unwrap_or_else(|| "cpu".to_owned());
    match run(&spec) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(spec: &str) -> Outcome<bool> {
    let device = match spec {
        "software" => software()?,
        spec => open(&spec.parse()?)?,
    };
    println!("{spec}");
    let findings = conformance::run(&device);
    for finding in &findings {
        println!("  {finding}");
    }
    Ok(findings.iter().all(|finding| !finding.failed()))
}

/// The software adapter of wgpu; it is in no device string, as nothing is to be trained on it.
#[cfg(feature = "wgpu")]
fn software() -> Outcome<Device> {
    let device = Device::wgpu(burn::tensor::DeviceKind::Cpu);
    let name = std::panic::catch_unwind(|| device.identity().map(|identity| identity.name));
    match name {
        Ok(name) => println!("adapter: {}", name.as_deref().unwrap_or("unnamed")),
        Err(_) => return Err("wgpu finds no software adapter; install mesa-vulkan-drivers".into()),
    }
    Ok(device)
}

#[cfg(not(feature = "wgpu"))]
fn software() -> Outcome<Device> {
    Err("a software adapter needs `--features wgpu`".into())
}
