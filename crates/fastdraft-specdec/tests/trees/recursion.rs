//! The law of full trees by recursion over their nodes.

use std::collections::BTreeMap;
use std::rc::Rc;

use fastdraft_specdec::tree::{TreeProposal, verify_tree};
use fastdraft_specdec::{Distribution, Rule, SeededUniform, TokenId, Uniform};

use crate::enumeration::{Law, Models, Script, outcomes};
use crate::trees::{history, without};

/// The largest number that can be drawn.
const LAST: f64 = 1.0 - f64::EPSILON / 2.0;

/// Tokens drawn below a node, each with the distribution it was drawn from.
type Draws = Vec<(TokenId, Distribution)>;

/// What verification does at a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decision {
    Accepts(TokenId),
    EndsWith(TokenId),
}

/// Gives prepared numbers, then random ones.
struct Numbers<'a> {
    first: &'a [f64],
    used: usize,
    rng: SeededUniform,
}

impl<'a> Numbers<'a> {
    fn new(first: &'a [f64], seed: u64) -> Self {
        let rng = SeededUniform::new(seed);
        Self {
            first,
            used: 0,
            rng,
        }
    }
}

impl Uniform for Numbers<'_> {
    fn uniform(&mut self) -> f64 {
        self.used += 1;
        match self.first.get(self.used - 1) {
            Some(&number) => number,
            None => self.rng.uniform(),
        }
    }
}

/// Full trees of two children at every node and a number of levels.
pub struct FullTrees<'a> {
    models: &'a Models,
    depth: usize,
    p: BTreeMap<Vec<TokenId>, Distribution>,
    draws: BTreeMap<Vec<TokenId>, Rc<Vec<(Draws, f64)>>>,
    rng: SeededUniform,
    /// How many decisions inside full trees were compared.
    pub compared: usize,
    /// How many of those were reached through a second child.
    pub behind_second: usize,
}

impl<'a> FullTrees<'a> {
    pub fn new(models: &'a Models, depth: usize) -> Self {
        Self {
            models,
            depth,
            p: BTreeMap::new(),
            draws: BTreeMap::new(),
            rng: SeededUniform::new(depth as u64),
            compared: 0,
            behind_second: 0,
        }
    }

    /// The law of the block that a step gives, every decision of it compared.
    pub fn law(&mut self) -> Law {
        let mut law = Law::new();
        self.add(&mut Vec::new(), 1.0, &mut law);
        law
    }

    fn p(&mut self, history: &[TokenId]) -> Distribution {
        if let Some(known) = self.p.get(history) {
            return known.clone();
        }
        let p = self.models.p(history);
        self.p.insert(history.to_vec(), p.clone());
        p
    }

    /// Every two draws without replacement behind `history`, with their probability.
    fn draws(&mut self, history: &[TokenId]) -> Rc<Vec<(Draws, f64)>> {
        if let Some(known) = self.draws.get(history) {
            return known.clone();
        }
        let mut all = Vec::new();
        match self.models.q(history) {
            None => all.push((Vec::new(), 1.0)),
            Some(q) => {
                for (first, weight) in q.iter() {
                    match without(&q, first) {
                        None => all.push((vec![(first, q.clone())], weight)),
                        Some(rest) => all.extend(rest.iter().map(|(second, share)| {
                            let draws = vec![(first, q.clone()), (second, rest.clone())];
                            (draws, weight * share)
                        })),
                    }
                }
            }
        }
        let all = Rc::new(all);
        self.draws.insert(history.to_vec(), all.clone());
        all
    }

    /// Adds the law of the blocks that begin with the accepted `path`, which has `weight`.
    fn add(&mut self, path: &mut Vec<TokenId>, weight: f64, law: &mut Law) {
        let here: Vec<TokenId> = self.models.prompt.iter().chain(&*path).copied().collect();
        let draws = if path.len() < self.depth {
            self.draws(&here)
        } else {
            Rc::new(vec![(Vec::new(), 1.0)])
        };
        let mut accepted = vec![0.0; self.models.size as usize];
        for (draws, probability) in &*draws {
            let mut tree = TreeProposal::new();
            for (token, q) in draws {
                tree.push(None, *token, q);
            }
            let rows = self.rows(&here, &tree);
            let rule = self.models.rule;
            let alone = |numbers: &mut dyn Uniform| decide(rule, &tree, &rows, &[], numbers);
            let judge = |script: &mut Script<'_>| match alone(script) {
                Some(Decision::Accepts(token)) => vec![token, 1],
                Some(Decision::EndsWith(token)) => vec![token, 0],
                None => Vec::new(),
            };
            let mut edges = Vec::new();
            outcomes(&judge, &mut Vec::new(), 1.0, &mut |decision, w, numbers| {
                edges.push(numbers.to_vec());
                let (token, share) = (decision[0], probability * w);
                if decision[1] == 1 {
                    accepted[token as usize] += share;
                } else {
                    let block = path.iter().copied().chain([token]).collect();
                    *law.entry(block).or_default() += weight * share;
                }
            });
            for edge in edges {
                self.compare(path, draws, &alone, &edge);
            }
        }
        for (token, share) in (0..).zip(accepted) {
            if share > 0.0 {
                path.push(token);
                self.add(path, weight * share, law);
                path.pop();
            }
        }
    }

    fn rows(&mut self, prompt: &[TokenId], tree: &TreeProposal) -> Vec<Distribution> {
        let nodes = [None].into_iter().chain((0..tree.len()).map(Some));
        nodes
            .map(|node| self.p(&history(prompt, tree, node)))
            .collect()
    }

    /// Compares the decisions at and just below each number of `edge`, alone and inside full trees.
    fn compare(
        &mut self,
        path: &[TokenId],
        draws: &Draws,
        alone: &dyn Fn(&mut dyn Uniform) -> Option<Decision>,
        edge: &[f64],
    ) {
        let below = (0..edge.len()).filter(|&i| edge[i] > 0.0).map(|i| {
            let mut numbers = edge[..=i].to_vec();
            numbers[i] = numbers[i].next_down();
            numbers
        });
        for numbers in below.chain([edge.to_vec()]) {
            let seed = self.rng.next_u64();
            let expected = alone(&mut Numbers::new(&numbers, seed));
            // The way through first children is always open, through a second one only where the
            // first can be rejected.
            for second in [false, true, true, true] {
                let inside = self.inside(path, draws, &numbers, seed, second);
                if inside.is_some() || !second {
                    assert_eq!(inside, expected, "{path:?}, {numbers:?}, {:?}", self.models);
                    self.compared += 1;
                    self.behind_second += usize::from(second && !path.is_empty());
                }
            }
        }
    }

    /// The decision behind `path` in a random full tree that has `draws` there, `None` when
    /// verification does not get there. With `second` the way leads through a second child.
    fn inside(
        &mut self,
        path: &[TokenId],
        draws: &Draws,
        numbers: &[f64],
        seed: u64,
        second: bool,
    ) -> Option<Decision> {
        let through = if second {
            Some(self.below(path.len()))
        } else {
            None
        };
        let mut tree = TreeProposal::new();
        let mut way = vec![false; path.len()];
        // Nodes come in any order in which parents are before their children.
        let mut open = vec![None];
        while !open.is_empty() {
            let parent = open.swap_remove(self.below(open.len()));
            let seen = history(&self.models.prompt, &tree, parent);
            let here = seen.get(self.models.prompt.len()..).unwrap();
            let on_path = path.starts_with(here);
            let pair = match path.get(here.len()).filter(|_| on_path) {
                _ if here == path => draws.clone(),
                Some(&token) => {
                    let last = through == Some(here.len()) || (second && self.below(2) == 1);
                    let pair = self.pair(&seen, |pair| {
                        pair.get(usize::from(last)).is_some_and(|d| d.0 == token)
                    })?;
                    way[here.len()] = last;
                    pair
                }
                None => self.pair(&seen, |_| true)?,
            };
            for (token, q) in &pair {
                let node = tree.push(parent, *token, q);
                if here.len() + 1 < self.depth {
                    open.push(node);
                }
            }
        }
        let mut first = Vec::new();
        if self.models.rule == Rule::Rejection {
            for last in way {
                first.extend(last.then_some(LAST).into_iter().chain([0.0]));
            }
        }
        first.extend_from_slice(numbers);
        let rows = self.rows(&self.models.prompt.clone(), &tree);
        let mut numbers = Numbers::new(&first, seed);
        decide(self.models.rule, &tree, &rows, path, &mut numbers)
    }

    /// Some two draws behind `history` that `fit`, `None` when there are none.
    fn pair(&mut self, history: &[TokenId], fit: impl Fn(&Draws) -> bool) -> Option<Draws> {
        let all = self.draws(history);
        let fitting: Vec<_> = all.iter().filter(|pair| fit(&pair.0)).collect();
        let chosen = fitting.get(self.below(fitting.len()))?;
        Some(chosen.0.clone())
    }

    fn below(&mut self, count: usize) -> usize {
        (self.rng.next_u64() % count.max(1) as u64) as usize
    }
}

/// What verification of `tree` does behind `path`, `None` when it does not get there.
fn decide(
    rule: Rule,
    tree: &TreeProposal,
    rows: &[Distribution],
    path: &[TokenId],
    numbers: &mut dyn Uniform,
) -> Option<Decision> {
    let verdict = verify_tree(rule, tree, rows, numbers).unwrap();
    let tokens: Vec<TokenId> = verdict.path.iter().map(|&n| tree.tokens()[n]).collect();
    tokens
        .starts_with(path)
        .then(|| match tokens.get(path.len()) {
            Some(&token) => Decision::Accepts(token),
            None => Decision::EndsWith(verdict.next),
        })
}
