//! What this machine really does, as opposed to its data sheet.
//!
//! [`bandwidth`](bandwidth()) reads main memory; [`Gemm`] is what a runtime has to provide for the
//! rest: the rate of matrix products by size, the overhead of one operation, and the latency of a
//! pass over a stack of layers, to which a [`PassModel`] is fitted. [`measure`](measure()) runs all
//! of it on the processor, [`cached`] once per machine.

mod bandwidth;
mod cache;
mod cpu_gemm;
mod fingerprint;
mod gemm;
mod pass;
mod roofline;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use bandwidth::{Bandwidth, bandwidth, bandwidth_with};
pub use cache::{cache_directory, cached, load, store};
pub use cpu_gemm::CpuGemm;
pub use fingerprint::fingerprint;
pub use gemm::{Gemm, GemmRate, GemmSize, gemm_rates, launch_overhead};
pub use pass::{PassModel, PassPoint, PassShape, pass_latencies};
pub use roofline::roofline_svg;

use crate::error::HwError;
use crate::probe::probe;

/// How much is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Effort {
    /// Square sizes of the matrix products.
    pub gemm: Vec<GemmSize>,
    /// Stacks of layers.
    pub shapes: Vec<PassShape>,
    /// Tokens of a pass.
    pub tokens: Vec<usize>,
    /// Time spent on each size, each shape and each number of tokens.
    pub time: Duration,
}

impl Default for Effort {
    /// About 15 seconds on two cores.
    fn default() -> Self {
        let shape = |layers, width| PassShape { layers, width };
        let square = [64, 128, 256, 512, 1024, 2048].map(GemmSize::square);
        // Few rows and a weight larger than caches: what a pass over a handful of tokens does.
        let flat = [1, 4, 16, 64].map(|rows| GemmSize {
            rows,
            inner: 4096,
            columns: 8192,
        });
        Self {
            gemm: square.into_iter().chain(flat).collect(),
            shapes: vec![shape(2, 512), shape(6, 512), shape(4, 1024), shape(8, 1024)],
            tokens: vec![1, 2, 4, 8, 16],
            time: Duration::from_millis(300),
        }
    }
}

/// All that was measured of one runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measurement {
    /// What identifies machine and runtime.
    pub fingerprint: String,
    /// Name of the processor.
    pub device: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Streaming read of main memory.
    pub bandwidth: Bandwidth,
    /// Rate of matrix products.
    pub gemm: Vec<GemmRate>,
    /// Seconds of a product of 1×1 matrices.
    pub launch_overhead: f64,
    /// Latency of passes.
    pub passes: Vec<PassPoint>,
    /// What was fitted to `passes`.
    pub pass_model: PassModel,
}

impl Measurement {
    /// The highest rate of matrix products, in operations per second.
    #[must_use]
    pub fn best_gemm_rate(&self) -> f64 {
        self.gemm.iter().map(|rate| rate.flops).fold(0.0, f64::max)
    }
}

/// Measures the processor.
///
/// # Errors
///
/// [`HwError::Measurement`] when memory is refused.
pub fn measure() -> Result<Measurement, HwError> {
    measure_with(&mut CpuGemm::new(), "gemm", &Effort::default())
}

/// Measures `runtime`, called `name`, on the machine's processor.
///
/// # Errors
///
/// [`HwError::Measurement`] with what the runtime says.
pub fn measure_with<G: Gemm>(
    runtime: &mut G,
    name: &str,
    effort: &Effort,
) -> Result<Measurement, HwError> {
    let devices = probe(Path::new("/"));
    let device = devices
        .first()
        .map_or_else(|| "unknown".to_owned(), |info| info.name.clone());
    let bandwidth = bandwidth()?;
    let gemm = gemm_rates(runtime, &effort.gemm, effort.time)?;
    let launch_overhead = launch_overhead(runtime, effort.time)?;
    let passes = pass_latencies(runtime, &effort.shapes, &effort.tokens, effort.time)?;
    let pass_model = PassModel::fit(&passes)?;
    Ok(Measurement {
        fingerprint: fingerprint(&devices, name),
        device,
        runtime: name.to_owned(),
        bandwidth,
        gemm,
        launch_overhead,
        passes,
        pass_model,
    })
}
