//! Checks the runtime of a device: `conformance DEVICE`, such as `cpu`, `cpu:libtorch`, `intel-gpu`.

use std::process::ExitCode;

use fastdraft_hw::{DeviceSpec, HwError, conformance, open};

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

fn run(spec: &str) -> Result<bool, HwError> {
    let spec: DeviceSpec = spec.parse()?;
    let device = open(&spec)?;
    let findings = conformance::run(&device);
    println!("{spec}");
    for finding in &findings {
        println!("  {finding}");
    }
    Ok(findings.iter().all(|finding| !finding.failed()))
}
