//! AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), one pass over memory a step.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Moments, global_norm, host};
use crate::{error::TrainError, host::vector::vectorized};

const CHUNK: usize = 1 << 14;

/// Constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay of matrices; norms, biases and embeddings do not decay.
    pub weight_decay: f32,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// The optimizer with its state. Moments live in host memory, by the parameter's path, and the
/// step is taken there, whatever the device.
#[derive(Debug, Clone, Default)]
pub struct AdamW {
    config: AdamWConfig,
    step: u32,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// Before the first step.
    #[must_use]
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Goes on after `step` steps with the moments of then.
    #[must_use]
    pub fn restore(config: AdamWConfig, step: u32, moments: BTreeMap<String, Moments>) -> Self {
        Self {
            config,
            step,
            moments,
        }
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.step
    }

    /// Moments by the parameter's path.
    #[must_use]
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Moves every parameter that has a gradient; returns the module and the joint norm of the
    /// gradients, which are scaled down to `clip` when they are longer.
    ///
    /// Pass the module by value and hold no copy of it: then nothing is copied.
    ///
    /// # Errors
    /// [`TrainError::Gradient`] naming the first tensor whose gradient is not finite; the module
    /// is lost. [`TrainError::Tensor`] when a device does not hand tensors over as float32.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: GradientsParams,
        rate: f64,
        clip: f32,
    ) -> Result<(M, f32), TrainError> {
        self.step_with(module, gradients, rate, clip, drop)
    }

    /// As [`step`](Self::step); `done` gets the memory of gradients.
    pub(crate) fn step_with<M: Module>(
        &mut self,
        module: M,
        mut gradients: GradientsParams,
        rate: f64,
        clip: f32,
        done: impl Fn(Vec<f32>) + Sync,
    ) -> Result<(M, f32), TrainError> {
        // On a worker, which does not sleep between tensors.
        rayon::scope(|_| {
            let norm = global_norm(&module, &mut gradients)?;
            self.step += 1;
            let factor = if norm > clip { clip / norm } else { 1.0 };
            let mut update = Update {
                constants: Constants::new(&self.config, self.step, rate, factor),
                decay: (rate * f64::from(self.config.weight_decay)) as f32,
                moments: &mut self.moments,
                gradients,
                done: &done,
                path: Vec::new(),
                error: None,
            };
            let module = module.map(&mut update);
            match update.error {
                Some(error) => Err(error),
                None => Ok((module, norm)),
            }
        })
    }
}

/// Numbers that all elements of a step share.
#[derive(Clone, Copy)]
struct Constants {
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    /// Rate over the bias correction of the first moment.
    rate: f32,
    /// Root of the bias correction of the second moment, inverted.
    second: f32,
    /// Of the clipping.
    factor: f32,
}

impl Constants {
    fn new(config: &AdamWConfig, step: u32, rate: f64, factor: f32) -> Self {
        let left = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
        Self {
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            rate: (rate / left(config.beta_1)) as f32,
            second: (1.0 / left(config.beta_2).sqrt()) as f32,
            factor,
        }
    }
}

vectorized! {
    fn update(
        with: Constants,
        w: &mut [f32],
        g: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        decay: f32,
    ) {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * with.factor;
            *m += (1.0 - with.beta_1) * (g - *m);
            *v += (1.0 - with.beta_2) * (g * g - *v);
            *w -= with.rate * *m / (v.sqrt() * with.second + with.epsilon) + decay * *w;
        }
    }
}

struct Update<'a> {
    constants: Constants,
    decay: f32,
    moments: &'a mut BTreeMap<String, Moments>,
    gradients: GradientsParams,
    done: &'a dyn Fn(Vec<f32>),
    path: Vec<String>,
    error: Option<TrainError>,
}

impl Update<'_> {
    fn apply<const D: usize>(
        &mut self,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
    ) -> Result<Tensor<D>, TrainError> {
        let name = self.path.join(".");
        let decays = D >= 2 && !name.contains("embed_tokens");
        let decay = if decays { self.decay } else { 0.0 };
        let mut gradient = host::data(gradient)?;
        let g = host::slice(&mut gradient)?;
        let moments = (self.moments.entry(name)).or_insert_with(|| Moments::zeros(g.len()));
        let constants = self.constants;
        let tensor = fastdraft_hw::values::update(tensor, |w| {
            w.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(moments.first.par_chunks_mut(CHUNK))
                .zip(moments.second.par_chunks_mut(CHUNK))
                .for_each(|(((w, g), m), v)| update(constants, w, g, m, v, decay));
        });
        let tensor = tensor.map_err(|error| TrainError::Tensor {
            reason: error.to_string(),
        })?;
        if let Ok(gradient) = gradient.try_into_vec() {
            (self.done)(gradient);
        }
        Ok(tensor.require_grad())
    }
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let gradient = self.gradients.remove::<D>(id);
        let tensor = match (gradient, &self.error) {
            (Some(gradient), None) => {
                let kept = tensor.dims();
                let device = tensor.device();
                match self.apply(tensor, gradient) {
                    Ok(tensor) => tensor,
                    Err(error) => {
                        self.error = Some(error);
                        Tensor::zeros(kept, &device)
                    }
                }
            }
            _ => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{Linear, LinearConfig},
        optim::ModuleOptimizer,
        tensor::Device,
    };

    use super::*;

    fn gradients(layer: &Linear, at: usize) -> GradientsParams {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data([[3.0, -4.0 + at as f32, 0.5]], &device);
        let loss = layer.forward(x).square().sum();
        GradientsParams::from_grads(loss.backward(), layer)
    }

    fn values(layer: &Linear) -> Vec<f32> {
        let mut all: Vec<f32> = layer.weight.val().into_data().try_into_vec().unwrap();
        let bias = layer.bias.as_ref().unwrap().val();
        all.extend(bias.into_data().try_into_vec::<f32>().unwrap());
        all
    }

    #[test]
    fn steps_equal_those_of_burn() {
        let device = Device::flex().autodiff();
        let mut ours = LinearConfig::new(3, 2).init(&device);
        let mut theirs = ours.clone();
        let config = AdamWConfig::default();
        let mut adamw = AdamW::new(config);
        let mut reference: ModuleOptimizer = burn::optim::AdamWConfig::new()
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .init();
        for at in 0..6 {
            let gradients_ours = gradients(&ours, at);
            (ours, _) = adamw
                .step(ours, gradients_ours, 1e-2, f32::INFINITY)
                .unwrap();
            let gradients_theirs = gradients(&theirs, at);
            theirs = reference.step(1e-2, theirs, gradients_theirs);
            for (a, b) in values(&ours).iter().zip(values(&theirs)) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
        assert_eq!(adamw.steps(), 6);
        assert_eq!(adamw.moments().len(), 2);
    }

    #[test]
    fn clipping_scales_all_gradients_and_decay_spares_the_bias() {
        let layer = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
        let mut adamw = AdamW::new(AdamWConfig {
            weight_decay: 0.1,
            ..AdamWConfig::default()
        });
        let before = values(&layer);
        let found = gradients(&layer, 0);
        let (layer, norm) = adamw.step(layer, found, 0.0, 0.5).unwrap();
        assert_eq!(values(&layer), before);
        // The first moment after one step is a tenth of the clipped gradient.
        let squares = (adamw.moments().values().flat_map(|m| &m.first))
            .map(|m| f64::from(*m).powi(2))
            .sum::<f64>();
        assert!(
            norm > 0.5 && (squares.sqrt() - 0.05).abs() < 1e-5,
            "{norm} {squares}"
        );
        let mut still = Constants::new(&AdamWConfig::default(), 1, 1.0, 1.0);
        still.rate = 0.0;
        let mut weight = [2.0];
        update(still, &mut weight, &[0.0], &mut [0.0], &mut [0.0], 0.01);
        assert!((weight[0] - 1.98).abs() < 1e-6);
    }
}
