//! Products.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{
    Put, View, ViewMut,
    panels::{Panel, panels},
};
use crate::host::product::{Packed, PackedView, product, product_with};

/// Multiplications below which threads cost more than they bring.
const ALONE: usize = 1 << 21;

/// `out = a · b` or `out += a · b`.
pub(crate) struct Product<'a> {
    pub(crate) out: ViewMut<'a>,
    pub(crate) put: Put,
    pub(crate) a: View<'a>,
    pub(crate) b: View<'a>,
}

impl<'a> Product<'a> {
    /// Panels of the result, if it is large.
    fn parts(self) -> Vec<Self> {
        let Self { out, put, a, b } = self;
        if a.rows.saturating_mul(b.columns).saturating_mul(a.columns) < ALONE {
            return vec![Self { out, put, a, b }];
        }
        (panels(a.rows, b.columns).into_iter())
            .map(|Panel { rows, columns }| Self {
                // SAFETY: panels do not overlap, and the whole is gone.
                out: unsafe { out.part(rows.clone(), columns.clone()) },
                put,
                a: a.some_rows(rows),
                b: b.some_columns(columns),
            })
            .collect()
    }
}

/// Products on all threads. The results depend neither on the number of threads nor on when which
/// one runs.
pub(crate) fn multiply_all(products: Vec<Product<'_>>) {
    let parts: Vec<Product<'_>> = products.into_iter().flat_map(Product::parts).collect();
    (parts.into_par_iter().with_max_len(1))
        .for_each(|Product { out, put, a, b }| multiply(out, put, a, b));
}

/// A product on the calling thread.
pub(crate) fn multiply(out: ViewMut<'_>, put: Put, a: View<'_>, b: View<'_>) {
    let out = out.out(a.rows, b.columns);
    // SAFETY: `out` has the shape of the product, and is borrowed mutably.
    with_memory(|memory| unsafe { product(out, put, a, b, memory) });
}

/// As [`multiply`], with a matrix that is packed.
pub(crate) fn multiply_packed(out: ViewMut<'_>, put: Put, a: View<'_>, b: &PackedView<'_>) {
    let out = out.out(a.rows, b.columns());
    // SAFETY: `out` has the shape of the product, and is borrowed mutably.
    unsafe { product_with(out, put, a, b) };
}

thread_local! {
    static MEMORY: RefCell<Packed> = RefCell::default();
}

/// Memory of the calling thread for what it packs.
pub(crate) fn with_memory<T>(work: impl FnOnce(&mut Packed) -> T) -> T {
    MEMORY.with_borrow_mut(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7 + 3) % 13) as f32 - 6.0)
            .collect()
    }

    #[test]
    fn strides_transposes_and_sums() {
        let (a, b) = (filled(5 * 7), filled(7 * 6));
        // Columns 1..5 of a, transposed: [4, 5] × [5, 6].
        let a = View::strided(&a[1..], 5, 4, 7).t();
        let b = View::new(&b[..30], 5, 6);
        let mut out = vec![1.0; 4 * 8];
        multiply(ViewMut::strided(&mut out, 4, 6, 8), Put::Onto, a, b);
        for i in 0..4 {
            for j in 0..8 {
                let sum: f32 = (0..5)
                    .map(|k| a.values[k * 7 + i] * b.values[k * 6 + j.min(5)])
                    .sum();
                let expected = if j < 6 { 1.0 + sum } else { 1.0 };
                assert_eq!(out[i * 8 + j], expected, "{i} {j}");
            }
        }
        // The same in bands of two columns, the rows one by one.
        let mut over = vec![9.0; 4 * 6];
        for (band, mut out) in ViewMut::new(&mut over, 4, 6).bands(2).enumerate() {
            let b = b.some_columns(2 * band..2 * band + 2);
            out.fill(0.0);
            for row in 0..4 {
                let out = out.some_rows(row..row + 1);
                multiply(out, Put::Onto, a.some_rows(row..row + 1), b);
            }
        }
        for (i, value) in over.iter().enumerate() {
            assert_eq!(*value, out[i / 6 * 8 + i % 6] - 1.0, "{i}");
        }
    }

    #[test]
    fn panels_change_no_bit() {
        let (m, k, n) = (300, 700, 500);
        let value = |i: usize| ((i * 7919) % 1000) as f32 / 997.0 - 0.5;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..n * k).map(|i| value(i + 13)).collect();
        let (a, b) = (View::new(&a, m, k), View::new(&b, n, k).t());
        let mut parts = vec![2.0; m * n];
        let mut whole = parts.clone();
        let product = Product {
            out: ViewMut::new(&mut parts, m, n),
            put: Put::Onto,
            a,
            b,
        };
        let product = vec![product];
        assert!(panels(m, n).len() > 1);
        multiply_all(product);
        multiply(ViewMut::new(&mut whole, m, n), Put::Onto, a, b);
        assert_eq!(parts, whole);
    }

    #[test]
    #[should_panic(expected = "fits")]
    fn a_view_beyond_its_values_is_refused() {
        let _ = View::new(&[0.0; 5], 2, 3);
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn a_result_of_another_shape_is_refused() {
        let values = [0.0; 4];
        let (a, mut out) = (View::new(&values, 2, 2), [0.0; 6]);
        multiply(ViewMut::new(&mut out, 3, 2), Put::Over, a, a);
    }
}
