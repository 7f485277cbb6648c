//! Products against loops over whole numbers, which no order of sums changes.

use super::{Out, Packed, library, product, product_with};
use crate::host::matrix::{Put, View};

fn filled(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7 + seed) % 13) as f32 - 6.0)
        .collect()
}

/// A matrix of its own rows, or of the columns of another, with a gap after each.
fn matrix(values: &[f32], rows: usize, columns: usize, turned: bool) -> View<'_> {
    if turned {
        View::strided(values, columns, rows, rows + 3).t()
    } else {
        View::strided(values, rows, columns, columns + 3)
    }
}

fn at(view: &View<'_>, row: usize, column: usize) -> f32 {
    view.values[row * view.row_stride + column * view.column_stride]
}

const BEFORE: f32 = 2.0;

/// What is there after a product; the gaps must be as they were.
fn expected(a: View<'_>, b: View<'_>, put: Put, stride: usize) -> Vec<f32> {
    let mut out = vec![BEFORE; a.rows * stride];
    for row in 0..a.rows {
        for column in 0..b.columns {
            let sum: f32 = (0..a.columns)
                .map(|k| at(&a, row, k) * at(&b, k, column))
                .sum();
            let before = if put == Put::Onto { BEFORE } else { 0.0 };
            out[row * stride + column] = before + sum;
        }
    }
    out
}

#[test]
fn products_are_what_loops_give() {
    let sizes = [
        (1, 1, 1),
        (5, 16, 15),
        (6, 17, 16),
        (7, 0, 3),
        (12, 33, 64),
        (13, 384, 65),
        (4, 385, 130),
        (2, 800, 48),
        (31, 5, 81),
    ];
    let (mut memory, mut packed) = (Packed::default(), Packed::default());
    for (m, k, n) in sizes {
        for (turned_a, turned_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let values = (filled((m + 3) * (k + 3), 1), filled((k + 3) * (n + 3), 5));
            let a = matrix(&values.0, m, k, turned_a);
            let b = matrix(&values.1, k, n, turned_b);
            for put in [Put::Over, Put::Onto] {
                let stride = n + 2;
                let expected = expected(a, b, put, stride);
                let check = |work: &mut dyn FnMut(Out), name: &str| {
                    let mut values = vec![BEFORE; m * stride];
                    work(Out {
                        values: values.as_mut_ptr(),
                        row_stride: stride,
                    });
                    let case = (m, k, n, turned_a, turned_b, put);
                    assert_eq!(values, expected, "{name} {case:?}");
                };
                // SAFETY: `out` has `m` rows of at least `n` values.
                unsafe {
                    check(&mut |out| product(out, put, a, b, &mut memory), "product");
                    check(&mut |out| library::product(out, put, a, b), "library");
                    packed.pack(b);
                    check(
                        &mut |out| product_with(out, put, a, &packed.view()),
                        "packed",
                    );
                    packed.pack_by_panels(b);
                    check(
                        &mut |out| product_with(out, put, a, &packed.view()),
                        "by panels",
                    );
                    packed.empty(k, n);
                    packed.put(k / 3, b.some_rows(k / 3..k));
                    packed.put(0, b.some_rows(0..k / 3));
                    check(
                        &mut |out| product_with(out, put, a, &packed.view()),
                        "in parts",
                    );
                }
            }
        }
    }
}

#[test]
fn packed_rows_are_scaled() {
    let (k, n) = (9, 70);
    let values = filled(k * n, 2);
    let scales: Vec<f32> = (0..k).map(|i| i as f32 - 3.0).collect();
    let scaled: Vec<f32> = (values.chunks(n).zip(&scales))
        .flat_map(|(row, scale)| row.iter().map(move |value| value * scale))
        .collect();
    let left = filled(4 * k, 3);
    let a = View::new(&left, 4, k);
    let mut packed = Packed::default();
    packed.pack_scaled(&values, n, &scales);
    let mut found = vec![BEFORE; 4 * n];
    let out = Out {
        values: found.as_mut_ptr(),
        row_stride: n,
    };
    // SAFETY: there are four rows of `n` values.
    unsafe { product_with(out, Put::Onto, a, &packed.view()) };
    assert_eq!(found, expected(a, View::new(&scaled, k, n), Put::Onto, n));
}

#[test]
fn parts_of_what_is_packed() {
    let (m, k, n) = (7, 50, 150);
    let (left, right) = (filled(m * k, 3), filled(k * n, 2));
    let mut packed = Packed::default();
    packed.pack(View::new(&right, k, n));
    for rows in [0..50, 0..1, 13..13, 20..50] {
        for columns in [0..150, 0..64, 64..128, 64..150, 128..150] {
            let a = View::strided(&left, m, rows.len(), k);
            let b = View::new(&right, k, n);
            let b = b.some_rows(rows.clone()).some_columns(columns.clone());
            let mut found = vec![BEFORE; m * columns.len()];
            let out = Out {
                values: found.as_mut_ptr(),
                row_stride: columns.len(),
            };
            let part = packed.view().part(rows.clone(), columns.clone());
            // SAFETY: `found` has the shape of the product.
            unsafe { product_with(out, Put::Onto, a, &part) };
            let expected = expected(a, b, Put::Onto, columns.len());
            assert_eq!(found, expected, "{rows:?} {columns:?}");
        }
    }
}

#[test]
#[should_panic(expected = "is_multiple_of")]
fn a_part_does_not_begin_inside_a_panel() {
    let mut packed = Packed::default();
    packed.empty(2, 100);
    let _ = packed.view().part(0..2, 10..100);
}
