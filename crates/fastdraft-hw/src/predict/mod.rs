//! What a draft will gain, before it is trained.
//!
//! All costs are in units of one plain target pass over one token: `draft_cost` (c) is the time
//! of one draft token, `verify_cost` (v) the time of the target pass that checks γ tokens.
//!
//! | quantity | definition |
//! |---|---|
//! | acceptance rate AR | accepted / drafted tokens, at a fixed γ |
//! | acceptance probability α | chance that one draft token is accepted, independent of the rest |
//! | block efficiency τ | tokens emitted per target pass, the target's own token included |
//! | MBSU | τ / (cγ + 1): speed-up when every pass is bound by memory, so v = 1 |
//! | speed-up | τ / (cγ + v) |
//!
//! [`forecast`](forecast()) puts them together for latencies in seconds: the best γ, the AR that a
//! draft must reach to pay, or that none does. [`SizeLaw`] weighs a draft's cost against the
//! acceptance that its size is taken to bring.

mod acceptance;
mod forecast;
mod latency;
mod size_law;
mod speedup;

pub use acceptance::{Acceptance, alpha_from_acceptance_rate};
pub use forecast::{Forecast, GammaForecast, Needed, forecast};
pub use latency::{Latency, MeasuredLatency, RooflineLatency};
pub use size_law::SizeLaw;
pub use speedup::{
    BestGamma, best_gamma, block_efficiency, break_even_acceptance, iid_block_efficiency, mbsu,
    speedup,
};
