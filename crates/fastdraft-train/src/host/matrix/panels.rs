//! How a product is cut.

use std::ops::Range;

/// A part of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panel {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// Rows and columns of a panel at most: what a product packs of either matrix stays in a core's
/// cache, and is little beside what it multiplies.
const MOST: (usize, usize) = (4096, 768);
/// Panels are not cut into halves below these: the library adds up otherwise in products of at most
/// 64 by 64.
const LEAST: (usize, usize) = (96, 128);
/// Panels begin at multiples of these, which kernels work on at a time.
const EDGE: (usize, usize) = (6, 64);

/// Panels of a result, at least two for each thread where it is large enough.
pub(super) fn panels(rows: usize, columns: usize) -> Vec<Panel> {
    let (mut down, mut across) = (rows.div_ceil(MOST.0), columns.div_ceil(MOST.1));
    while down * across < 2 * rayon::current_num_threads() {
        let (high, wide) = (rows / down, columns / across);
        // Panels above each other pack the same columns.
        if wide >= 2 * LEAST.1 {
            across *= 2;
        } else if high >= 2 * LEAST.0 {
            down *= 2;
        } else {
            break;
        }
    }
    (parts(rows, down, EDGE.0))
        .flat_map(|rows| {
            parts(columns, across, EDGE.1).map(move |columns| Panel {
                rows: rows.clone(),
                columns,
            })
        })
        .collect()
}

/// `count` parts of about one size.
fn parts(length: usize, count: usize, edge: usize) -> impl Iterator<Item = Range<usize>> {
    let place = move |part: usize| {
        if part == count {
            length
        } else {
            part * length / count / edge * edge
        }
    };
    (0..count).map(move |part| place(part)..place(part + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_panel() {
        for (rows, columns) in [(1, 1), (170, 49_152), (5000, 256), (769, 1025), (200, 9)] {
            let mut times = vec![0u8; rows * columns];
            for panel in panels(rows, columns) {
                let (high, wide) = (panel.rows.len(), panel.columns.len());
                assert!((high > 64 || high == rows) && (wide > 64 || wide == columns));
                for row in panel.rows {
                    for column in panel.columns.clone() {
                        times[row * columns + column] += 1;
                    }
                }
            }
            assert!(times.iter().all(|times| *times == 1), "{rows} {columns}");
        }
    }
}
