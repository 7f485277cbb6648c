use burn::tensor::Device;

use super::*;
use crate::{draft::init, engine::burn::KvCache};

fn decoder() -> Decoder {
    let mut config = DecoderConfig::llama(40, 64, 3);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    (config.sliding_window, config.full_attention_layers) = (Some(5), vec![1]);
    let checkpoint = init::random(config, None, 7).unwrap();
    Decoder::from_checkpoint(&checkpoint, &Device::flex()).unwrap()
}

fn values(logits: Tensor<2>) -> Vec<f32> {
    logits.into_data().try_into_vec().unwrap()
}

/// Passes of several sequences, each `(slot, tokens)`.
type Passes = Vec<Vec<(usize, Vec<u32>)>>;

fn compare(passes: &Passes, scatters: bool) {
    let decoder = decoder();
    let mut pool = Pool::new(&decoder, 100);
    pool.scatters = scatters;
    let mut lengths = [0; 8];
    let mut caches: Vec<KvCache> = (0..8)
        .map(|_| KvCache::new(decoder.config(), 100, &Device::flex()))
        .collect();
    for pass in passes {
        let mut rows = Vec::new();
        let mut expected = Vec::new();
        for (slot, tokens) in pass {
            pool.reserve(*slot);
            let outputs = tokens.len().min(2);
            rows.push(Row {
                slot: *slot,
                past: lengths[*slot],
                seq: tokens.len(),
                outputs,
            });
            lengths[*slot] += tokens.len();
            let alone = decoder.forward_cached(tokens, outputs, &mut caches[*slot]);
            expected.extend(values(alone.unwrap()));
        }
        let tokens: Vec<&[u32]> = pass.iter().map(|(_, tokens)| tokens.as_slice()).collect();
        let found = pool.forward(&decoder, &rows, &tokens).unwrap().unwrap();
        let found = values(found);
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn sequences_in_a_pool_have_the_logits_of_passes_alone() {
    let tokens = |n: u32, from: u32| (0..n).map(|i| (i * 7 + from) % 40).collect::<Vec<u32>>();
    let passes = vec![
        vec![(3, tokens(20, 1)), (0, tokens(4, 2)), (1, tokens(1, 3))],
        // All of one width, in and out of the order of slots.
        vec![(0, tokens(1, 4)), (1, tokens(1, 5))],
        vec![(3, tokens(1, 6)), (1, tokens(1, 7)), (0, tokens(1, 8))],
        // Long ones between short ones of several widths, and slots that sit out.
        vec![
            (5, tokens(30, 9)),
            (1, tokens(5, 10)),
            (3, tokens(17, 11)),
            (0, tokens(2, 12)),
        ],
        vec![(1, tokens(3, 13))],
        vec![(5, tokens(16, 14)), (1, tokens(16, 15))],
    ];
    compare(&passes, false);
    compare(&passes, true);
}

#[test]
fn bad_passes_leave_the_pool_as_it_was() {
    let decoder = decoder();
    let mut pool = Pool::new(&decoder, 4);
    pool.reserve(1);
    let row = |slot, past, seq, outputs| Row {
        slot,
        past,
        seq,
        outputs,
    };
    let mut error = |row: Row, tokens: &[u32]| {
        pool.forward(&decoder, &[row], &[tokens])
            .err()
            .map(|error| error.to_string())
    };
    for (row, tokens) in [
        (row(2, 0, 1, 1), &[1][..]),
        (row(0, 0, 0, 0), &[]),
        (row(0, 0, 1, 2), &[1]),
        (row(0, 3, 2, 1), &[1, 2]),
        (row(0, 0, 1, 1), &[40]),
    ] {
        assert!(error(row, tokens).is_some(), "{row:?}");
    }
    assert!(error(row(1, 0, 4, 1), &[1, 2, 3, 4]).is_none());
}
