//! A teacher in this process: any target that scores batches.

mod ending;
mod models;
mod sequence;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use fastdraft_specdec::batch::{BatchTarget, Separate};
use fastdraft_specdec::{Draft, NoDraft, Target};
use rayon::prelude::*;

use super::{Reply, Request, Sink, StopReason, Teacher, TeacherError};
use crate::Tokenizer;
use ending::Ending;
use models::{Models, Round};
use sequence::Sequence;

/// Sees every token of an answer with the logits, shape `[vocabulary]`, that it was drawn from.
///
/// The number is that of the request. Top-k probabilities can be recorded this way. The tokens of
/// one answer come in order; those of several may come at the same time, from several threads.
pub type Observer<'a> = dyn Fn(usize, u32, &[f32]) + Sync + 'a;

/// A teacher made of a target, and of drafts if it is to run speculatively.
///
/// Several answers share each pass of the target; when one ends, the next request takes its place.
/// With drafts the answers follow the same distribution, and greedy ones are the same
/// (Leviathan et al., arXiv 2211.17192). An answer depends on its request and the seed, not on
/// the batch it was in, as far as the target's arithmetic does not.
///
/// `top_p` and temperature are applied; `min_tokens` is not, as forbidding the end would be
/// another distribution: [`generate`](crate::generate::generate) makes short answers failures.
///
/// ```
/// # use fastdraft_data::{BpeVocabulary, Tokenizer};
/// # let tokenizer = Tokenizer::from_bpe(&BpeVocabulary {
/// #     tokens: ["a", "b", "c", "<end>"].map(String::from).to_vec(),
/// #     token_types: vec![1, 1, 1, 3],
/// #     pre: "gpt-2".into(),
/// #     eos_id: Some(3),
/// #     ..BpeVocabulary::default()
/// # })?;
/// use std::ops::ControlFlow;
/// use fastdraft_data::teacher::{Request, Sampling, TargetTeacher, Teacher};
/// use fastdraft_specdec::mock::{MockTarget, Table};
///
/// let teacher = TargetTeacher::single(MockTarget::new(Table::new(4, 2, 7)), &tokenizer);
/// let request = Request {
///     id: "1".into(),
///     messages: Vec::new(),
///     text: "ab".into(),
///     ids: tokenizer.encode("ab", true)?,
///     sampling: Sampling::at(0.8, 5),
///     stop: Vec::new(),
/// };
/// teacher.answer(&[request], &mut |_, reply| {
///     assert!(reply.is_ok_and(|reply| reply.answer_ids.is_some_and(|ids| ids.len() <= 5)));
///     ControlFlow::Continue(())
/// });
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
pub struct TargetTeacher<'a, T, D = NoDraft> {
    tokenizer: &'a Tokenizer,
    end_ids: Vec<u32>,
    seed: u64,
    gamma: usize,
    slots: usize,
    limit: Option<Duration>,
    models: RefCell<Models<'a, T, D>>,
}

impl<T, D> std::fmt::Debug for TargetTeacher<'_, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetTeacher")
            .field("end_ids", &self.end_ids)
            .field("seed", &self.seed)
            .field("gamma", &self.gamma)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl<'a, T: Target> TargetTeacher<'a, Separate<T>> {
    /// A teacher of one target that answers one request at a time.
    pub fn single(target: T, tokenizer: &'a Tokenizer) -> Self {
        Self::new(Separate::new(target, Vec::new()), tokenizer, 1)
    }
}

impl<'a, T: BatchTarget> TargetTeacher<'a, T> {
    /// A teacher that has up to `batch` answers in each pass; zero counts as one.
    ///
    /// Answers end with the tokenizer's end token.
    pub fn new(target: T, tokenizer: &'a Tokenizer, batch: usize) -> Self {
        let slots = batch.max(1);
        Self {
            tokenizer,
            end_ids: tokenizer.eos_id().into_iter().collect(),
            seed: 0,
            gamma: 0,
            slots,
            limit: None,
            models: RefCell::new(Models {
                target,
                drafts: vec![NoDraft; slots],
                observer: None,
            }),
        }
    }

    /// Lets the drafts propose `gamma` tokens a pass, one draft for each answer of a batch.
    ///
    /// There are as many answers in a pass as drafts.
    #[must_use]
    pub fn with_drafts<D: Draft>(self, drafts: Vec<D>, gamma: usize) -> TargetTeacher<'a, T, D> {
        let models = self.models.into_inner();
        TargetTeacher {
            tokenizer: self.tokenizer,
            end_ids: self.end_ids,
            seed: self.seed,
            gamma,
            slots: drafts.len(),
            limit: self.limit,
            models: RefCell::new(Models {
                target: models.target,
                drafts,
                observer: models.observer,
            }),
        }
    }
}

impl<'a, T, D> TargetTeacher<'a, T, D> {
    /// Ends answers at any of these tokens, instead of the tokenizer's end token alone.
    #[must_use]
    pub fn with_end_ids(mut self, ids: &[u32]) -> Self {
        self.end_ids = ids.to_vec();
        self
    }

    /// Sets the seed for requests that have none.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Ends after this long, counted from the first request of a call.
    ///
    /// Answers under way are then given as far as they go, with [`StopReason::Other`]; requests
    /// that had not begun get no reply.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Shows every token and its logits to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Fn(usize, u32, &[f32]) + Sync + 'a) -> Self {
        self.models.get_mut().observer = Some(Box::new(observer));
        self
    }

    /// The seed of the random numbers for a request, see [`Request::seed`].
    #[must_use]
    pub fn seed_for(&self, request: &Request) -> u64 {
        request.seed(self.seed)
    }

    const fn ending(&self) -> Ending<'_> {
        Ending {
            tokenizer: self.tokenizer,
            tokens: self.end_ids.as_slice(),
        }
    }

    fn reply(&self, request: &Request, sequence: Sequence) -> Result<Reply, TeacherError> {
        let answer = sequence.answer();
        let text = self.ending().text(answer, &request.stop);
        Ok(Reply {
            text: text.map_err(failure)?,
            stop: sequence.stop.unwrap_or(StopReason::Other),
            prompt_ids: Some(request.ids.clone()),
            answer_ids: Some(answer.to_vec()),
        })
    }
}

impl<T: BatchTarget, D: Draft> TargetTeacher<'_, T, D> {
    /// Takes requests into free slots; those that cannot begin are answered at once.
    fn fill(
        &self,
        models: &mut Models<'_, T, D>,
        round: &mut Round<'_>,
        sink: &mut Sink<'_>,
    ) -> ControlFlow<()> {
        let vocabulary = models.target.vocabulary().size;
        while let Some(&slot) = round.free.last()
            && let Some(request) = round.requests.get(round.next)
        {
            let index = round.next;
            round.next += 1;
            let begun = Sequence::new(index, slot, request, self.seed_for(request), vocabulary)
                .and_then(|sequence| {
                    models.forget(slot, 0)?;
                    Ok(sequence)
                });
            match begun {
                Ok(sequence) if sequence.stop.is_none() => {
                    round.free.pop();
                    round.running.push(sequence);
                }
                Ok(sequence) => sink(index, self.reply(request, sequence))?,
                Err(reason) => sink(index, Err(failure(reason)))?,
            }
        }
        ControlFlow::Continue(())
    }

    /// One pass of the target over all answers under way; what went wrong, by answer.
    fn pass(&self, models: &mut Models<'_, T, D>, round: &mut Round<'_>) -> Vec<Option<String>> {
        let vocabulary = models.target.vocabulary().size;
        let mut problems: Vec<Option<String>> = round
            .running
            .iter_mut()
            .map(|sequence| {
                let draft = models.drafts.get_mut(sequence.slot)?;
                sequence.propose(draft, self.gamma, vocabulary).err()
            })
            .collect();
        models.score(round, &mut problems);
        let ending = self.ending();
        let requests = round.requests;
        let observer = models.observer.as_deref();
        round
            .running
            .par_iter_mut()
            .zip(&round.rows)
            .zip(&mut problems)
            .filter(|(_, problem)| problem.is_none())
            .for_each(|((sequence, rows), problem)| {
                let stop = &requests[sequence.index].stop;
                *problem = sequence.judge(rows, vocabulary, &ending, stop).err();
                if let (None, Some(observer)) = (&problem, observer) {
                    for (row, &token) in sequence.emitted().iter().enumerate() {
                        observer(sequence.index, token, rows.row(row).unwrap_or_default());
                    }
                }
            });
        for (position, problem) in problems.iter_mut().enumerate() {
            let sequence = &round.running[position];
            if problem.is_some() {
                continue;
            }
            *problem = models.forget(sequence.slot, sequence.kept()).err();
        }
        problems
    }
}

const fn failure(reason: String) -> TeacherError {
    TeacherError {
        reason,
        attempts: 1,
        fatal: false,
    }
}

impl<T: BatchTarget, D: Draft> Teacher for TargetTeacher<'_, T, D> {
    fn answer(&self, requests: &[Request], sink: &mut Sink<'_>) {
        let fatal = |reason: &str| TeacherError {
            fatal: true,
            ..failure(reason.into())
        };
        let Ok(mut models) = self.models.try_borrow_mut() else {
            let _ = sink(0, Err(fatal("the target is answering already")));
            return;
        };
        if self.slots == 0 {
            let _ = sink(0, Err(fatal("there are no drafts")));
            return;
        }
        let mut round = Round {
            requests,
            next: 0,
            free: (0..self.slots).rev().collect(),
            running: Vec::new(),
            rows: Vec::new(),
        };
        let start = Instant::now();
        loop {
            let late = self.limit.is_some_and(|limit| start.elapsed() >= limit);
            if late {
                for sequence in round.running.drain(..) {
                    let index = sequence.index;
                    if sink(index, self.reply(&requests[index], sequence)).is_break() {
                        return;
                    }
                }
                return;
            }
            if self.fill(&mut models, &mut round, sink).is_break() || round.running.is_empty() {
                return;
            }
            let problems = self.pass(&mut models, &mut round);
            let running = std::mem::take(&mut round.running);
            for (sequence, problem) in running.into_iter().zip(problems) {
                let result = match problem {
                    Some(reason) => Err(failure(reason)),
                    None if sequence.stop.is_none() => {
                        round.running.push(sequence);
                        continue;
                    }
                    None => Ok(()),
                };
                let (index, slot) = (sequence.index, sequence.slot);
                round.free.push(slot);
                // An answer that failed may have left the cache in any state.
                let freed = models.forget(slot, 0);
                let result = result
                    .and_then(|()| freed.map_err(failure))
                    .and_then(|()| self.reply(&requests[index], sequence));
                if sink(index, result).is_break() {
                    return;
                }
            }
        }
    }
}
