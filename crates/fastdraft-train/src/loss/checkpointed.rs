//! Gradients with little memory, on any device: block by block.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};
use fastdraft_model::decoder::Decoder;

use super::{
    Batch, gradients,
    plain::{logits_of, tokens},
};

/// Loss and gradients with only the inputs of blocks kept: each block runs forward again in the
/// backward pass, and only its own operations are recorded at a time. `loss` is that of the
/// logits at the trained positions.
pub(crate) fn checkpointed(
    decoder: &Decoder,
    batch: &Batch,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> (f32, GradientsParams) {
    let still = decoder.clone().no_grad();
    let mut x = still.embed_tokens.forward(tokens(decoder, batch));
    let mut inputs = Vec::with_capacity(still.layers.len());
    for index in 0..still.layers.len() {
        inputs.push(x.clone());
        x = still.block(index, x);
    }
    drop(still);
    let top = x.detach().require_grad();
    let stream = decoder.norm.forward(top.clone());
    let loss = loss(logits_of(decoder, stream, batch));
    let value = loss.clone().into_scalar::<f32>();
    let mut found = loss.backward();
    let mut above = top.grad_remove(&mut found);
    let mut sum = GradientsParams::from_grads(found, decoder);
    for (index, x) in inputs.into_iter().enumerate().rev() {
        let Some(gradient) = above else {
            return (value, sum);
        };
        let x = x.detach().require_grad();
        let through = (decoder.block(index, x.clone()) * gradient.autodiff()).sum();
        let mut found = through.backward();
        above = x.grad_remove(&mut found);
        gradients::add(
            decoder,
            &mut sum,
            GradientsParams::from_grads(found, decoder),
        );
    }
    if let (Some(gradient), true) = (above, decoder.embed_tokens.weight.is_require_grad()) {
        let x = decoder.embed_tokens.forward(tokens(decoder, batch));
        let found = (x * gradient.autodiff()).sum().backward();
        gradients::add(
            decoder,
            &mut sum,
            GradientsParams::from_grads(found, decoder),
        );
    }
    (value, sum)
}
