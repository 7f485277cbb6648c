//! The directions that hold most of some vectors.

use rayon::prelude::*;

/// Steps end when the captured energy grows by less than this share.
const TOLERANCE: f64 = 1e-7;
const MAX_STEPS: usize = 100;

/// `XᵀX` divided by its trace: `[n, n]`, of `x` `[rows, n]`.
pub(super) fn scaled_gram(x: &[f32], n: usize) -> Vec<f64> {
    let mut gram: Vec<f64> = (0..n)
        .into_par_iter()
        .flat_map_iter(|i| {
            let mut row = vec![0.0_f64; n];
            for x in x.chunks_exact(n) {
                let weight = f64::from(x[i]);
                for (sum, value) in row.iter_mut().zip(x) {
                    *sum += weight * f64::from(*value);
                }
            }
            row
        })
        .collect();
    let trace: f64 = (0..n).map(|i| gram[i * n + i]).sum();
    if trace > 0.0 {
        gram.iter_mut().for_each(|value| *value /= trace);
    }
    gram
}

/// Orthonormal rows `[k, n]` that span the leading eigenvectors of a symmetric `gram` `[n, n]`,
/// by orthogonal iteration, and the energy in them, the trace of `V · gram · Vᵀ`.
pub(super) fn leading_subspace(gram: &[f64], n: usize, k: usize) -> (Vec<f64>, f64) {
    // The rows of largest diagonal, so that the start is not orthogonal to what is sought.
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| gram[b * n + b].total_cmp(&gram[a * n + a]));
    let mut basis: Vec<f64> = (order.iter().take(k))
        .flat_map(|&i| (0..n).map(move |j| if i == j { 1.0 } else { 1e-3 * noise(i * n + j) }))
        .collect();
    orthonormalise(&mut basis, n);
    let mut energy = 0.0;
    for _ in 0..MAX_STEPS {
        let moved = apply(gram, &basis, n);
        let found = dot(&moved, &basis);
        basis = moved;
        orthonormalise(&mut basis, n);
        if found - energy <= TOLERANCE * found {
            break;
        }
        energy = found;
    }
    let energy = dot(&apply(gram, &basis, n), &basis);
    (basis, energy)
}

/// Each row of `basis` times the symmetric `gram`.
fn apply(gram: &[f64], basis: &[f64], n: usize) -> Vec<f64> {
    basis
        .par_chunks_exact(n)
        .flat_map_iter(|row| {
            let mut out = vec![0.0; n];
            for (weight, gram) in row.iter().zip(gram.chunks_exact(n)) {
                for (sum, value) in out.iter_mut().zip(gram) {
                    *sum += weight * value;
                }
            }
            out
        })
        .collect()
}

/// Modified Gram and Schmidt over rows, twice, which leaves them orthogonal to rounding. Rows
/// that depend on others become the next unit vector that does not.
fn orthonormalise(basis: &mut [f64], n: usize) {
    let mut unit = 0;
    for i in 0..basis.len() / n {
        let (done, rest) = basis.split_at_mut(i * n);
        let row = &mut rest[..n];
        while !reduce(done, row, n) {
            row.fill(0.0);
            row[unit % n] = 1.0;
            unit += 1;
        }
    }
}

/// Whether a part of `row` is orthogonal to `done`; that part is left in it, of length 1.
fn reduce(done: &[f64], row: &mut [f64], n: usize) -> bool {
    let before = dot(row, row).sqrt();
    for _ in 0..2 {
        for other in done.chunks_exact(n) {
            let along = dot(row, other);
            for (value, other) in row.iter_mut().zip(other) {
                *value -= along * other;
            }
        }
    }
    let length = dot(row, row).sqrt();
    if length <= 1e-12 * before || before == 0.0 {
        return false;
    }
    row.iter_mut().for_each(|value| *value /= length);
    true
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A fixed value in -1 to 1.
fn noise(index: usize) -> f64 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64 / (1u64 << 52) as f64
        - 1.0
}

/// Coordinates of the rows of `x` `[rows, n]` in `basis` `[k, n]`: `[rows, k]`.
pub(super) fn project(x: &[f32], basis: &[f64], n: usize) -> Vec<f32> {
    x.par_chunks_exact(n)
        .flat_map_iter(|row| {
            basis.chunks_exact(n).map(|axis| {
                let pairs = row.iter().zip(axis);
                pairs.map(|(x, a)| f64::from(*x) * a).sum::<f64>() as f32
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagonal_gram_gives_its_largest_entries() {
        let n = 12;
        let mut gram = vec![0.0; n * n];
        for i in 0..n {
            gram[i * n + i] = ((i * 5) % n) as f64 + 1.0;
        }
        let (basis, energy) = leading_subspace(&gram, n, 3);
        assert!((energy - (12.0 + 11.0 + 10.0)).abs() < 1e-3, "{energy}");
        for (i, a) in basis.chunks(n).enumerate() {
            for (j, b) in basis.chunks(n).enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(a, b) - expected).abs() < 1e-9);
            }
        }
    }
}
