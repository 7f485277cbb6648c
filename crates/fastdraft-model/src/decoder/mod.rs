//! Decoders as Burn modules: any family, any device, with gradients.

mod attention;
mod block;
mod mlp;
mod model;
mod rope;
mod transfer;

pub use attention::Attention;
pub use block::Block;
pub use mlp::Mlp;
pub use model::Decoder;
pub(crate) use rope::{Angles, Positions, Views};
