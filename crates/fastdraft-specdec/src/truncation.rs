//! Top-k, top-p and min-p over unnormalised weights, by selection rather than a full sort.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::distribution::Entry;

const BUCKETS: usize = 1024;
const SORT_BELOW: usize = 32;

/// Heavier first, then the lower token id.
fn heavier(a: &Entry, b: &Entry) -> Ordering {
    b.value
        .total_cmp(&a.value)
        .then_with(|| a.token.cmp(&b.token))
}

/// Keeps the `k` heaviest entries.
pub(crate) fn top_k(entries: &mut Vec<Entry>, k: usize) {
    if k > 0 && k < entries.len() {
        entries.select_nth_unstable_by(k - 1, heavier);
        entries.truncate(k);
    }
}

/// Keeps an entry when the mass of all heavier ones is below `p` of the total.
pub(crate) fn top_p(entries: &mut Vec<Entry>, p: f64) {
    if p >= 1.0 || entries.is_empty() {
        return;
    }
    // Weights are in (0, 1], so their biased exponents index 1024 buckets.
    let mut mass = [0.0f64; BUCKETS];
    for entry in entries.iter() {
        if let Some(slot) = mass.get_mut(bucket(entry.value)) {
            *slot += entry.value;
        }
    }
    let total: f64 = mass.iter().rev().sum();
    let wanted = p * total;
    let mut above = 0.0;
    let mut boundary = 0;
    for (index, &bucket_mass) in mass.iter().enumerate().rev() {
        boundary = index;
        if above + bucket_mass >= wanted {
            break;
        }
        above += bucket_mass;
    }
    entries.retain(|e| bucket(e.value) >= boundary);
    let whole = partition(entries, |e| bucket(e.value) > boundary);
    let (_, edge) = entries.split_at_mut(whole);
    let kept = whole + reach(edge, wanted - above);
    entries.truncate(kept.max(1));
}

/// Keeps entries of at least `min_p` times the heaviest weight, which is 1.
pub(crate) fn min_p(entries: &mut Vec<Entry>, min_p: f64) {
    entries.retain(|e| e.value >= min_p);
}

fn bucket(value: f64) -> usize {
    ((value.to_bits() >> 52) as usize).min(BUCKETS - 1)
}

/// Moves entries that satisfy `first` to the front and returns how many there are.
fn partition(entries: &mut [Entry], first: impl Fn(&Entry) -> bool) -> usize {
    let mut count = 0;
    for index in 0..entries.len() {
        if entries.get(index).is_some_and(&first) {
            entries.swap(index, count);
            count += 1;
        }
    }
    count
}

/// Brings the heaviest entries to the front and returns how many it takes to reach `wanted`.
fn reach(entries: &mut [Entry], wanted: f64) -> usize {
    let (mut low, mut high, mut before) = (0, entries.len(), 0.0);
    while high - low > SORT_BELOW {
        let middle = (high - low) / 2;
        let Some(window) = entries.get_mut(low..high) else {
            break;
        };
        let (heavy, _, _) = window.select_nth_unstable_by(middle, heavier);
        let heavy_mass: f64 = heavy.iter().map(|e| e.value).sum();
        if before + heavy_mass >= wanted {
            high = low + middle;
        } else {
            before += heavy_mass;
            low += middle;
        }
    }
    if let Some(window) = entries.get_mut(low..high) {
        window.sort_unstable_by(heavier);
        for (index, entry) in window.iter().enumerate() {
            if before >= wanted {
                return low + index;
            }
            before += entry.value;
        }
    }
    high
}
