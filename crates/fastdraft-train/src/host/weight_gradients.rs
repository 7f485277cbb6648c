//! Gradients of projections' weights. Nothing in a pass waits for them, so that they are what
//! threads do that would wait for others.

use std::sync::Arc;

use burn::nn;

use super::{
    linear::{Linear, Sums},
    matrix::{Product, Put, View, ViewMut, multiply_all},
    memory::Buffer,
};

/// Products to be added to the sums.
#[derive(Default)]
pub(super) struct WeightGradients<'a>(Vec<Job<'a>>);

struct Job<'a> {
    layer: &'a nn::Linear,
    sum: Vec<f32>,
    put: Put,
    x: Arc<Buffer>,
    dy: Arc<Buffer>,
}

impl<'a> WeightGradients<'a> {
    /// Of projections, from their inputs and the gradients of their outputs. Biases are added at
    /// once; the sums of the weights are away until [`finish`](Self::finish).
    pub(super) fn new<const N: usize>(
        sums: &mut Sums,
        all: [(&Linear<'a>, &Arc<Buffer>, &Arc<Buffer>); N],
    ) -> Self {
        let mut jobs = Vec::with_capacity(N);
        for (linear, x, dy) in all {
            let layer = linear.layer;
            if let Some(bias) = &layer.bias {
                sums.add(bias, &over_rows(dy, linear.output));
            }
            if layer.weight.is_require_grad() {
                let (sum, put) = sums.take(&layer.weight);
                jobs.push(Job {
                    layer,
                    sum,
                    put,
                    x: Arc::clone(x),
                    dy: Arc::clone(dy),
                });
            }
        }
        Self(jobs)
    }

    pub(super) fn multiply(&mut self) {
        let products = self.0.iter_mut().map(|job| {
            let [input, output] = job.layer.weight.val().dims();
            let positions = job.x.len() / input;
            Product {
                out: ViewMut::new(&mut job.sum, input, output),
                put: job.put,
                a: View::new(&job.x, positions, input).t(),
                b: View::new(&job.dy, positions, output),
            }
        });
        multiply_all(products.collect());
    }

    /// Gives the sums back.
    pub(super) fn finish(self, sums: &mut Sums) {
        for job in self.0 {
            sums.put_back(&job.layer.weight, job.sum);
        }
    }
}

fn over_rows(values: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for row in values.chunks_exact(width) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sum
}
