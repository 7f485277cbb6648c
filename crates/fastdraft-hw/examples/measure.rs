//! Measures this machine: `measure [--cache DIR] [--svg FILE] [--again]`.

use std::path::PathBuf;
use std::process::ExitCode;

use fastdraft_hw::HwError;
use fastdraft_hw::measure::{self, Measurement, cache_directory, roofline_svg};

struct Args {
    cache: Option<PathBuf>,
    svg: Option<PathBuf>,
    again: bool,
}

fn main() -> ExitCode {
    let outcome = arguments().and_then(|args| run(&args).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Args, String> {
    let mut args = Args {
        cache: cache_directory(),
        svg: None,
        again: false,
    };
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let mut path = || {
            let value = words.next().map(PathBuf::from);
            value.ok_or_else(|| format!("{} needs a path", word.display()))
        };
        match word.to_str() {
            Some("--cache") => args.cache = Some(path()?),
            Some("--svg") => args.svg = Some(path()?),
            Some("--again") => args.again = true,
            _ => return Err("usage: measure [--cache DIR] [--svg FILE] [--again]".to_owned()),
        }
    }
    Ok(args)
}

fn run(args: &Args) -> Result<(), HwError> {
    let measurement = match &args.cache {
        Some(directory) if !args.again => measure::cached(directory)?,
        Some(directory) => {
            let measurement = measure::measure()?;
            measure::store(directory, &measurement)?;
            measurement
        }
        None => measure::measure()?,
    };
    print(&measurement);
    if let Some(path) = &args.svg {
        let svg = roofline_svg(&measurement);
        std::fs::write(path, svg).map_err(|error| HwError::File {
            path: path.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn print(measurement: &Measurement) {
    println!(
        "{}, {} threads, runtime {}, fingerprint {}",
        measurement.device,
        measurement.bandwidth.threads,
        measurement.runtime,
        measurement.fingerprint
    );
    let bandwidth = measurement.bandwidth.bytes_per_second / 1e9;
    println!("bandwidth        {bandwidth:10.2} GB/s");
    println!(
        "launch overhead  {:10.2} µs",
        measurement.launch_overhead * 1e6
    );
    for rate in &measurement.gemm {
        let size = rate.size;
        println!(
            "gemm {:>5}×{:>5}×{:>5} {:8.1} GFLOP/s",
            size.rows,
            size.inner,
            size.columns,
            rate.flops / 1e9
        );
    }
    let model = measurement.pass_model;
    for point in &measurement.passes {
        println!(
            "pass {} layers × {:>4}, {:>2} tokens {:9.3} ms, model {:9.3} ms",
            point.shape.layers,
            point.shape.width,
            point.tokens,
            point.seconds * 1e3,
            model.seconds(point.shape, point.tokens) * 1e3
        );
    }
    println!(
        "pass model: {:.2} µs a layer + {:.1} ps a parameter + {:.1} ps a parameter and token; \
         error {:.0}% in the median, {:.0}% at most",
        model.layer * 1e6,
        model.parameter * 1e12,
        model.product * 1e12,
        model.median_error * 100.0,
        model.largest_error * 100.0
    );
}
