//! Speculative decoding of two toy bigram models: nothing but `fastdraft-specdec` is used.
//!
//! `cargo run --release --example specdec_only`

use std::error::Error;

use fastdraft_specdec::gamma::{Fixed, GammaPolicy, Heuristic};
use fastdraft_specdec::{
    Cascade, Draft, GenerateError, LogitRows, Proposal, Sampler, Session, SessionConfig,
    SuffixLookup, SystemClock, Target, TokenId, Transform, TransformError, Vocabulary,
    generate_plain,
};

const TEXT: &str = "the cat sat on the mat and the dog sat on the log; the cat and the dog ran \
                    to the man on the mat and the man sat on the dog and ran to the cat. ";
const SIZE: usize = 128;

/// Logits from counts of what followed the last characters of a text.
struct Bigram {
    /// Shape `[SIZE, SIZE]`.
    logits: Vec<f32>,
    vocabulary: Vocabulary,
}

impl Bigram {
    /// Learns from `text`; `smoothing` blurs what it learnt.
    fn new(text: &str, smoothing: f32) -> Self {
        let mut counts = vec![smoothing; SIZE * SIZE];
        for pair in text.as_bytes().windows(2) {
            if let [a, b] = pair {
                counts[usize::from(*a) * SIZE + usize::from(*b)] += 1.0;
            }
        }
        Self {
            logits: counts.into_iter().map(f32::ln).collect(),
            vocabulary: Vocabulary::from_tokens(SIZE, (0..SIZE as u8).map(|b| [b])),
        }
    }

    fn row(&self, last: Option<&TokenId>) -> &[f32] {
        let start = last.map_or(0, |&t| t as usize % SIZE) * SIZE;
        self.logits.get(start..start + SIZE).unwrap_or_default()
    }
}

impl Target for Bigram {
    type Error = TransformError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        let rows = out.reset(proposal.len() + 1, SIZE).chunks_mut(SIZE);
        for (row, last) in rows.zip(context.last().into_iter().chain(proposal)) {
            row.copy_from_slice(self.row(Some(last)));
        }
        Ok(())
    }

    fn truncate(&mut self, _len: usize) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl Draft for Bigram {
    type Error = TransformError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        let mut history = context.to_vec();
        let mut distribution = fastdraft_specdec::Distribution::new();
        for _ in 0..gamma {
            let token = sampler.sample(self.row(history.last()), &history, &mut distribution)?;
            out.push(token, &distribution);
            history.push(token);
        }
        Ok(())
    }

    fn truncate(&mut self, _len: usize) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn report<D, T>(
    name: &str,
    mut session: Session<D, T, impl GammaPolicy, SystemClock>,
) -> Result<(), GenerateError<D::Error, T::Error>>
where
    D: Draft,
    T: Target,
{
    while session.advance()?.is_some() {}
    let text: String = session
        .tokens()
        .iter()
        .map(|&t| char::from(t as u8))
        .collect();
    let metrics = session.metrics();
    println!("{name}: {text:?}");
    println!(
        "  {} tokens in {} target passes, acceptance {:.2}",
        metrics.emitted,
        metrics.target_passes,
        metrics.acceptance_rate().unwrap_or(0.0)
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut target = Bigram::new(TEXT, 1e-4);
    let mut draft = Bigram::new(&TEXT[..80], 1e-2);
    let prompt: Vec<TokenId> = "the ".bytes().map(TokenId::from).collect();
    let config = SessionConfig {
        gamma: 4,
        max_new_tokens: 72,
        transform: Transform::temperature(0.7),
        seed: 1,
        ..SessionConfig::default()
    };
    let plain = generate_plain(&mut target, &prompt, &config, |_| {
        core::ops::ControlFlow::Continue(())
    })?;
    println!("plain: {} target passes", plain.metrics.target_passes);

    let session = Session::new(&mut draft, &mut target, &prompt, &config)?;
    let session = session
        .with_policy(Fixed(4))
        .with_clock(SystemClock::default());
    report("bigram draft", session)?;

    let cascade = Cascade::new(SuffixLookup::new(3), &mut draft);
    let session = Session::new(cascade, &mut target, &prompt, &config)?;
    let session = session
        .with_policy(Heuristic::new(4, 8))
        .with_clock(SystemClock::default());
    report("lookup, else bigram", session)?;
    Ok(())
}
