//! What a draft that never helps costs under the cost-aware policy, by wall clock.
//!
//! Decodes in pairs, plainly and with drafting, against a target whose pass is a real product of a
//! matrix and a vector, and prints the ratio of the times per token.

use std::hint::black_box;
use std::time::Instant;

use fastdraft_specdec::gamma::CostAware;
use fastdraft_specdec::{
    Distribution, Draft, LogitRows, Metrics, NoDraft, Proposal, Sampler, Session, SessionConfig,
    SystemClock, Target, TokenId, Transform, TransformError, Vocabulary,
};

const SIZE: usize = 64;
const WIDTH: usize = 512;
const PAIRS: usize = 15;
const TOKENS: usize = 2_000;
/// Passes of one generation before it is the other's turn.
const TURN: usize = 5;

/// Work of a fixed amount: products of a matrix and a vector.
struct Work {
    matrix: Vec<f32>,
    vector: Vec<f32>,
    passes: usize,
}

impl Work {
    /// As many products as take about `seconds` here.
    fn of(seconds: f64) -> Self {
        let mut work = Self {
            matrix: (0..WIDTH * WIDTH).map(|i| (i % 7) as f32 * 1e-3).collect(),
            vector: vec![1.0; WIDTH],
            passes: 4_000,
        };
        // Once before, until the processor is at speed.
        work.run();
        let begin = Instant::now();
        work.run();
        let each = begin.elapsed().as_secs_f64() / work.passes as f64;
        work.passes = ((seconds / each) as usize).max(1);
        work
    }

    fn run(&self) {
        for _ in 0..self.passes {
            for row in self.matrix.chunks(WIDTH) {
                let mut lanes = [0.0f32; 8];
                for (a, b) in row
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .zip(self.vector.as_chunks::<8>().0)
                {
                    for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                        *lane += a * b;
                    }
                }
                black_box(lanes);
            }
        }
    }
}

/// Counts upwards; its pass takes as long for a few rows as for one.
struct Counting(Work, Vocabulary);

impl Target for Counting {
    type Error = TransformError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.1
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), TransformError> {
        self.0.run();
        let rows = out.reset(proposal.len() + 1, SIZE);
        let seen = context.last().into_iter().chain(proposal);
        for (row, &token) in rows.chunks_mut(SIZE).zip(seen) {
            row.fill(0.0);
            if let Some(next) = row.get_mut((token as usize + 1) % SIZE) {
                *next = 1.0;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
        Ok(())
    }
}

/// Always drafts the token that was last, which is always wrong.
struct Hopeless(Work);

impl Draft for Hopeless {
    type Error = TransformError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        _: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), TransformError> {
        let last = context.last().copied().unwrap_or_default();
        for _ in 0..gamma {
            self.0.run();
            out.push(last, &Distribution::one_hot(last));
        }
        Ok(())
    }

    fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
        Ok(())
    }
}

/// A pair of generations, plain and with the policy, that take turns every few passes.
///
/// A machine that slows down or is busy with something else then does so for both.
fn pair(
    targets: &mut [Counting; 2],
    draft: &mut Hopeless,
    config: &SessionConfig,
) -> Result<([f64; 2], Metrics), Box<dyn std::error::Error>> {
    let [plain, drafted] = targets;
    let mut plain = Session::new(NoDraft, plain, &[0], config)?;
    let mut drafted = Session::new(draft, drafted, &[0], config)?
        .with_policy(CostAware::new(4, 8))
        .with_clock(SystemClock::default());
    let mut seconds = [0.0; 2];
    for turn in 0.. {
        for side in [turn % 2, 1 - turn % 2] {
            let begin = Instant::now();
            for _ in 0..TURN {
                if side == 0 {
                    plain.advance()?;
                } else {
                    drafted.advance()?;
                }
            }
            seconds[side] += begin.elapsed().as_secs_f64();
        }
        if plain.stop_reason().is_some() && drafted.stop_reason().is_some() {
            break;
        }
    }
    Ok((seconds, drafted.metrics().clone()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Test runners call benches too, to see that they run.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let (pairs, tokens) = if short { (1, 20) } else { (PAIRS, TOKENS) };
    let target = || Counting(Work::of(2e-3), Vocabulary::new(SIZE, 0));
    let first = target();
    let mut second = target();
    // Both do the same work.
    second.0.passes = first.0.passes;
    let mut targets = [first, second];
    let mut draft = Hopeless(Work::of(0.4e-3));
    let config = SessionConfig {
        max_new_tokens: tokens,
        transform: Transform::greedy(),
        ..SessionConfig::default()
    };
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let ([plain, drafted], metrics) = pair(&mut targets, &mut draft, &config)?;
        let ms = 1e3 / tokens as f64;
        println!(
            "{:.3} ms a token plain, {:.3} with the policy: {} drafted, {} accepted, {} passes",
            plain * ms,
            drafted * ms,
            metrics.drafted,
            metrics.accepted,
            metrics.target_passes
        );
        ratios.push(drafted / plain);
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    println!(
        "{pairs} pairs of {tokens} tokens: time per token with the policy over plain, median {:.4}, \
         quartiles {:.4} to {:.4}, range {:.4} to {:.4}",
        at(0.5),
        at(0.25),
        at(0.75),
        at(0.0),
        at(1.0)
    );
    Ok(())
}
