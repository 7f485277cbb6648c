//! Products with AVX-512: six rows and 64 columns of the result stay in registers while the
//! depth goes by.

mod kernel;
mod turn;

pub(super) use turn::turn;

use self::kernel::{BY_COLUMNS, BY_ROWS, Call};
use super::{
    DEPTH, Out,
    packed::{LANES, PANEL, PackedView},
};
use crate::host::matrix::{Put, View};

/// Rows of the result that are worked on at a time.
const ROWS: usize = 6;

/// # Safety
/// The processor has AVX-512. `out` has the rows of `a` and the columns of `b`, and nobody else
/// has them; `b` has panels, and the rows that `a` has columns.
pub(super) unsafe fn product(out: Out, put: Put, a: View<'_>, b: &PackedView<'_>) {
    assert!(a.row_stride == 1 || a.column_stride == 1);
    let (kernels, a_stride) = if a.column_stride == 1 {
        (&BY_ROWS, a.row_stride)
    } else {
        (&BY_COLUMNS, a.column_stride)
    };
    let mut onto = put == Put::Onto;
    // One round also where there is no depth: the result is then 0.
    for start in (0..a.columns.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(a.columns - start);
        for row in (0..a.rows).step_by(ROWS) {
            let rows = ROWS.min(a.rows - row);
            let left = a
                .values
                .as_ptr()
                .wrapping_add(row * a.row_stride + start * a.column_stride);
            for column in (0..b.columns()).step_by(PANEL) {
                let columns = PANEL.min(b.columns() - column);
                let vectors = columns.div_ceil(LANES);
                let call = Call {
                    depth,
                    a: left,
                    a_stride,
                    b: b.panel(start, column),
                    out: out.at(row, column).values,
                    out_row: out.row_stride,
                    last: !0 >> (vectors * LANES - columns),
                    onto,
                };
                // SAFETY: the caller's promise.
                unsafe { kernels[rows - 1][vectors - 1](&call) };
            }
        }
        onto = true;
    }
}
