//! Clipping by the norm of all gradients together (Burn's own clips each tensor alone).

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

struct Norm<'a> {
    gradients: &'a GradientsParams,
    squares: Option<Tensor<1>>,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.squares = Some(match self.squares.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients
                .register::<D>(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

/// Scales all gradients of `module` so that their joint Euclidean norm is at most `limit`;
/// returns the norm before.
pub fn clip_global_norm<M: Module>(module: &M, gradients: &mut GradientsParams, limit: f32) -> f32 {
    let mut norm = Norm {
        gradients,
        squares: None,
    };
    module.visit(&mut norm);
    let norm = norm.squares.map_or(0.0, |s| s.into_scalar::<f32>()).sqrt();
    if norm > limit {
        let factor = f64::from(limit) / f64::from(norm);
        module.visit(&mut Scale { gradients, factor });
    }
    norm
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;

    #[test]
    fn the_joint_norm_meets_the_limit_and_directions_stay() {
        let device = Device::flex().autodiff();
        let layer = LinearConfig::new(3, 2).init(&device);
        let x = Tensor::<2>::from_data([[3.0, -4.0, 12.0]], &device);
        let gradients = layer.forward(x).sum().mul_scalar(2.0).backward();
        let mut gradients = GradientsParams::from_grads(gradients, &layer);
        let before: Vec<f32> = gradients
            .get::<2>(layer.weight.id)
            .unwrap()
            .into_data()
            .try_into_vec()
            .unwrap();
        let norm = clip_global_norm(&layer, &mut gradients, 0.5);
        // Two outputs, each with weight gradients 2·(3, -4, 12) and bias gradient 2.
        assert!(
            (norm - 2.0 * (2.0f32 * (169.0 + 1.0)).sqrt()).abs() < 1e-3,
            "{norm}"
        );
        let after: Vec<f32> = gradients
            .get::<2>(layer.weight.id)
            .unwrap()
            .into_data()
            .try_into_vec()
            .unwrap();
        for (a, b) in after.iter().zip(&before) {
            assert!((a - b * 0.5 / norm).abs() < 1e-5);
        }
        let again = clip_global_norm(&layer, &mut gradients, 10.0);
        assert!((again - 0.5).abs() < 1e-4);
    }
}
