//! Parameters as host memory, and sums of their gradients.

use std::{collections::BTreeMap, mem::take};

use burn::{
    module::{Param, ParamId},
    nn::{self, RmsNorm},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};

use super::{
    matrix::{Put, View, ViewMut, multiply_packed},
    memory::Memory,
    product::Packed,
    values::Values,
};
use crate::error::TrainError;

/// Gradients of a step, added up over its micro-batches.
pub(crate) struct Sums {
    memory: Memory,
    all: BTreeMap<ParamId, (Vec<usize>, Vec<f32>)>,
}

impl Sums {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            all: BTreeMap::new(),
        }
    }

    /// The sum of a parameter, and whether the next product replaces it or is added.
    pub(crate) fn of<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> (&mut [f32], Put) {
        let shape = param.val().dims();
        let mut put = Put::Onto;
        let (_, sum) = self.all.entry(param.id).or_insert_with(|| {
            put = Put::Over;
            let count = shape.iter().product();
            (shape.to_vec(), self.memory.vector(count))
        });
        (sum, put)
    }

    /// The sum of a parameter, to be added to.
    pub(super) fn onto<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> &mut [f32] {
        let (sum, put) = self.of(param);
        if put == Put::Over {
            sum.fill(0.0);
        }
        sum
    }

    /// Adds the gradient of a vector, if it is trained.
    pub(super) fn add(&mut self, param: &Param<Tensor<1>>, gradient: &[f32]) {
        if !param.is_require_grad() {
            return;
        }
        for (sum, value) in self.onto(param).iter_mut().zip(gradient) {
            *sum += value;
        }
    }

    /// Takes a sum away until it is [put back](Self::put_back).
    pub(super) fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> (Vec<f32>, Put) {
        let (_, put) = self.of(param);
        let sum = self.all.get_mut(&param.id).map(|(_, sum)| take(sum));
        (sum.unwrap_or_default(), put)
    }

    pub(super) fn put_back<const D: usize>(&mut self, param: &Param<Tensor<D>>, sum: Vec<f32>) {
        if let Some((_, place)) = self.all.get_mut(&param.id) {
            *place = sum;
        }
    }

    /// The sums as tensors of a device.
    pub(crate) fn into_gradients(self, device: &Device) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        for (id, (shape, values)) in self.all {
            let matrix = shape.len() == 2;
            let data = TensorData::new(values, shape);
            if matrix {
                gradients.register::<2>(id, Tensor::from_data(data, device));
            } else {
                gradients.register::<1>(id, Tensor::from_data(data, device));
            }
        }
        gradients
    }
}

/// A norm whose weight is in host memory.
pub(super) struct Norm<'a> {
    pub(super) gamma: Values,
    pub(super) epsilon: f64,
    pub(super) param: &'a Param<Tensor<1>>,
}

impl<'a> Norm<'a> {
    pub(super) fn read(norm: &'a RmsNorm) -> Result<Self, TrainError> {
        Ok(Self {
            gamma: Values::of(&norm.gamma)?,
            epsilon: norm.epsilon,
            param: &norm.gamma,
        })
    }
}

/// A projection whose weights are in host memory.
pub(super) struct Linear<'a> {
    weight: Values,
    bias: Option<Values>,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) layer: &'a nn::Linear,
}

impl<'a> Linear<'a> {
    pub(super) fn read(layer: &'a nn::Linear) -> Result<Self, TrainError> {
        let [input, output] = layer.weight.val().dims();
        Ok(Self {
            weight: Values::of(&layer.weight)?,
            bias: layer.bias.as_ref().map(Values::of).transpose()?,
            input,
            output,
            layer,
        })
    }

    /// `[input, output]`
    pub(super) fn matrix(&self) -> View<'_> {
        View::new(&self.weight, self.input, self.output)
    }

    /// `[positions, input]` to `[positions, output]`, with the matrix packed.
    pub(super) fn forward(&self, matrix: &Packed, x: &[f32], y: &mut [f32]) {
        self.put(matrix, x, y, Put::Over);
    }

    /// Adds the output to `y`.
    pub(super) fn forward_onto(&self, matrix: &Packed, x: &[f32], y: &mut [f32]) {
        self.put(matrix, x, y, Put::Onto);
    }

    fn put(&self, matrix: &Packed, x: &[f32], y: &mut [f32], put: Put) {
        let positions = x.len() / self.input;
        let x = View::new(x, positions, self.input);
        let out = ViewMut::new(y, positions, self.output);
        multiply_packed(out, put, x, &matrix.view());
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.output) {
                for (value, bias) in row.iter_mut().zip(&**bias) {
                    *value += bias;
                }
            }
        }
    }

    /// The input's gradient, into or onto `dx`, with the turned matrix packed.
    pub(super) fn below(&self, turned: &Packed, dy: &[f32], dx: &mut [f32], put: Put) {
        let positions = dy.len() / self.output;
        let dy = View::new(dy, positions, self.output);
        let out = ViewMut::new(dx, positions, self.input);
        multiply_packed(out, put, dy, &turned.view());
    }
}
