//! The norm of all gradients together (Burn's own clipping takes each tensor alone).

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use rayon::prelude::*;

use super::host;
use crate::{
    error::TrainError,
    host::vector::{LANES, vectorized},
};

/// Values of a sum that is taken alone; sums of sums round little and do not depend on threads.
const CHUNK: usize = 1 << 14;

struct Norm<'a> {
    gradients: &'a mut GradientsParams,
    squares: f64,
    path: Vec<String>,
    error: Option<TrainError>,
}

impl Norm<'_> {
    fn add<const D: usize>(&mut self, gradient: Tensor<D>) -> Result<Tensor<D>, TrainError> {
        let device = gradient.device();
        let mut data = host::data(gradient)?;
        let squares = sum_of_squares(host::slice(&mut data)?);
        if !squares.is_finite() {
            return Err(TrainError::Gradient {
                tensor: self.path.join("."),
            });
        }
        self.squares += squares;
        Ok(Tensor::from_data(data, &device))
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(chunk).collect();
    sums.iter().sum()
}

vectorized! {
    fn chunk(values: &[f32]) -> f64 {
        let mut lanes = [0.0f32; LANES];
        let (parts, rest) = values.as_chunks::<LANES>();
        for part in parts {
            for (lane, value) in lanes.iter_mut().zip(part) {
                *lane += value * value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value * value;
        }
        lanes.iter().map(|lane| f64::from(*lane)).sum()
    }
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.error.is_some() {
            return;
        }
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            match self.add(gradient) {
                Ok(gradient) => self.gradients.register::<D>(param.id, gradient),
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

/// The joint Euclidean norm of the gradients of `module`.
///
/// # Errors
/// [`TrainError::Gradient`] naming the first tensor whose gradient is not finite.
pub fn global_norm<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
) -> Result<f32, TrainError> {
    let mut norm = Norm {
        gradients,
        squares: 0.0,
        path: Vec::new(),
        error: None,
    };
    module.visit(&mut norm);
    match norm.error {
        Some(error) => Err(error),
        None => Ok(norm.squares.sqrt() as f32),
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;

    #[test]
    fn the_norm_is_joint_and_infinities_have_names() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(3, 2).init(&device);
        for (x, finite) in [(-4.0f32, true), (f32::INFINITY, false)] {
            let x = Tensor::<2>::from_data([[3.0, x, 12.0]], &device);
            let gradients = layer.forward(x).sum().mul_scalar(2.0).backward();
            let mut gradients = GradientsParams::from_grads(gradients, &layer);
            let norm = global_norm(&layer, &mut gradients);
            if finite {
                // Two outputs, each with weight gradients 2·(3, -4, 12) and bias gradient 2.
                let expected = 2.0 * (2.0f32 * (169.0 + 1.0)).sqrt();
                assert!((norm.unwrap() - expected).abs() < 1e-3);
            } else {
                let message = norm.unwrap_err().to_string();
                assert!(message.contains("weight"), "{message}");
            }
        }
    }
}
