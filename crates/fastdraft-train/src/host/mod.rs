//! The training pass on the host: a decoder forward and backward in closed form, on float32
//! slices. Nothing is recorded for a backward pass but what it needs, and gradients of several
//! micro-batches add up where they are.

mod attention;
mod block;
mod gate;
mod linear;
pub(crate) mod matrix;
mod memory;
mod norm;
mod pass;
pub(crate) mod product;
mod rotary;
mod rows;
mod strips;
mod values;
pub(crate) mod vector;
mod weight_gradients;

pub(crate) use block::Weights;
pub(crate) use linear::Sums;
pub(crate) use memory::{Buffer, Memory};
pub(crate) use pass::{Pass, Tokens};
pub(crate) use values::Values;

#[cfg(test)]
mod tests;
