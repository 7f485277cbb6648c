//! A warm session allocates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use fastdraft_specdec::{
    Distribution, Draft, LogitRows, Proposal, Sampler, SeededUniform, Session, SessionConfig,
    Target, TokenId, Transform, TransformError, Uniform, Vocabulary,
};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: usize = 6_000;

/// Logits that depend on the last token only.
struct Model {
    table: Vec<f32>,
    vocabulary: Vocabulary,
    distribution: Distribution,
    tokens: Vec<TokenId>,
}

impl Model {
    fn new(noise: f32) -> Self {
        let (mut rng, mut other) = (SeededUniform::new(1), SeededUniform::new(2));
        let table = (0..SIZE * 2)
            .map(|_| rng.uniform().powi(8) as f32 * 12.0 + noise * other.uniform() as f32);
        Self {
            table: table.collect(),
            vocabulary: Vocabulary::new(SIZE, 0),
            distribution: Distribution::new(),
            tokens: Vec::with_capacity(4096),
        }
    }

    fn row(&self, last: TokenId) -> &[f32] {
        let start = last as usize % SIZE;
        &self.table[start..start + SIZE]
    }
}

impl Target for Model {
    type Error = TransformError;
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), TransformError> {
        let lasts = context.last().into_iter().chain(proposal);
        let rows = out.reset(proposal.len() + 1, SIZE).chunks_mut(SIZE);
        for (row, &last) in rows.zip(lasts) {
            row.copy_from_slice(self.row(last));
        }
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
        Ok(())
    }
}

impl Draft for Model {
    type Error = TransformError;
    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), TransformError> {
        self.tokens.clear();
        self.tokens.extend_from_slice(context);
        let mut distribution = std::mem::take(&mut self.distribution);
        for _ in 0..gamma {
            let last = *self.tokens.last().unwrap();
            let token = sampler.sample(self.row(last), &self.tokens, &mut distribution)?;
            out.push(token, &distribution);
            self.tokens.push(token);
        }
        self.distribution = distribution;
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
        Ok(())
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_warm_session_allocates_nothing() {
    let base = Transform::temperature(0.8);
    let transforms = [
        Transform::greedy(),
        base.clone(),
        Transform {
            top_p: Some(0.95),
            ..base.clone()
        },
        Transform {
            top_k: Some(40),
            min_p: Some(0.01),
            ..base.clone()
        },
        Transform {
            repetition_penalty: 1.1,
            logit_bias: vec![(3, 1.0)],
            ..base
        },
    ];
    for transform in transforms {
        let (mut draft, mut target) = (Model::new(1.0), Model::new(0.0));
        let config = SessionConfig {
            gamma: 4,
            max_new_tokens: 1_500,
            transform: transform.clone(),
            ..SessionConfig::default()
        };
        let mut session = Session::new(&mut draft, &mut target, &[1], &config).unwrap();
        for _ in 0..200 {
            session.advance().unwrap();
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..50 {
            session.advance().unwrap().unwrap();
        }
        let during = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(during, 0, "allocations in 50 steps: {transform:?}");
    }
}
