//! Every outcome of a function of random numbers, with its probability.

use fastdraft_specdec::{TokenId, Uniform};

/// Numbers where a verdict that depends on a later one shows that it does.
const FILLERS: [f64; 2] = [0.003, 0.996];

/// Gives prepared random numbers, then `filler`, and counts how many were asked for.
pub struct Script<'a> {
    numbers: &'a [f64],
    filler: f64,
    used: usize,
}

impl Uniform for Script<'_> {
    fn uniform(&mut self) -> f64 {
        let number = self.numbers.get(self.used).copied();
        self.used += 1;
        number.unwrap_or(self.filler)
    }
}

/// Takes a block, its probability and the numbers that give it.
pub type Visit<'a> = dyn FnMut(Vec<TokenId>, f64, &[f64]) + 'a;

/// Visits every block that `judge` can give, with its probability times `weight` and the least
/// numbers that give it.
///
/// Each random number is split where what follows it changes, by bisection: verdicts are ordered
/// along a number, so the first change is where the present one ends.
pub fn outcomes(
    judge: &dyn Fn(&mut Script<'_>) -> Vec<TokenId>,
    numbers: &mut Vec<f64>,
    weight: f64,
    found: &mut Visit<'_>,
) {
    let run = |numbers: &[f64], filler| {
        let used = 0;
        let mut script = Script {
            numbers,
            filler,
            used,
        };
        (judge(&mut script), script.used)
    };
    let (block, used) = run(numbers, 0.5);
    if used <= numbers.len() {
        return found(block, weight, numbers);
    }
    let mut tried = numbers.clone();
    tried.push(0.0);
    let mut kind = |u: f64| {
        if let Some(last) = tried.last_mut() {
            *last = u;
        }
        FILLERS.map(|filler| run(&tried, filler))
    };
    let last = 1.0 - f64::EPSILON / 2.0;
    let (mut start, at_last) = (0.0, kind(last));
    while start < 1.0 {
        let here = kind(start);
        let mut end = 1.0;
        if at_last != here {
            let mut low: f64 = start;
            while end - low > f64::EPSILON / 8.0 {
                let middle = low + (end - low) / 2.0;
                if middle <= low || middle >= end {
                    break;
                }
                if kind(middle) == here {
                    low = middle;
                } else {
                    end = middle;
                }
            }
        }
        numbers.push(start);
        outcomes(judge, numbers, weight * (end - start), found);
        numbers.pop();
        start = end;
    }
}
