//! Batches from shards: every row once an epoch, from any step.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use fastdraft_data::shard::{ShardSet, ShardSpec, write_set};
use fastdraft_data::{PackedTokens, Packer, Rank, ShardLoader};
use proptest::prelude::*;

/// A folder of rows `[r, r]` with `r` from `first` on.
fn folder(path: &Path, first: u32, rows: u32) -> ShardSet {
    let mut packer = Packer::new(1, 0);
    let ids: Vec<u32> = (first..first + rows).flat_map(|row| [row, row]).collect();
    packer.push_document(&ids);
    let packed = packer.finish().unwrap();
    let spec = ShardSpec {
        rows_per_block: 2,
        ..ShardSpec::new(1, 1000, 1)
    };
    write_set(path, spec, &packed, 5).unwrap();
    ShardSet::open(path, 1).unwrap()
}

fn names(batch: &PackedTokens) -> Vec<u32> {
    (0..batch.rows()).map(|row| batch.row(row).0[0]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_row_once_an_epoch(rows in 1u32..60, batch in 1usize..7, world in 1usize..8, seed: u64) {
        let temporary = tempfile::tempdir().unwrap();
        let loader = ShardLoader::new(folder(temporary.path(), 0, rows), batch, seed).unwrap();
        let mut seen = Vec::new();
        for step in 0..(2 * rows as usize).div_ceil(batch * world) {
            for rank in 0..world {
                let loader = loader.clone().for_rank(Rank::new(rank, world).unwrap());
                seen.extend(names(&loader.batch(step).unwrap()));
            }
        }
        prop_assert!(seen.len() >= 2 * rows as usize);
        for epoch in seen.chunks_exact(rows as usize) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            prop_assert_eq!(epoch, (0..rows).collect::<Vec<_>>());
        }
    }
}

#[test]
fn prefetching_changes_nothing_and_begins_anywhere() {
    let temporary = tempfile::tempdir().unwrap();
    let loader = ShardLoader::new(folder(temporary.path(), 0, 23), 4, 9).unwrap();
    for first in [0, 1, 17] {
        for (step, batch) in (first..first + 9).zip(loader.prefetch(first, 3)) {
            assert_eq!(batch.unwrap(), loader.batch(step).unwrap());
        }
    }
    drop(loader.prefetch(0, 1));
}

#[test]
fn mixtures_keep_their_proportions() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sets = || vec![folder(a.path(), 0, 20), folder(b.path(), 100, 10)];
    let loader = ShardLoader::mixture(sets(), &[2, 1], 30, 3).unwrap();
    let mut batch = names(&loader.batch(4).unwrap());
    batch.sort_unstable();
    assert_eq!(batch, (0..20).chain(100..110).collect::<Vec<_>>());
    assert!(ShardLoader::mixture(sets(), &[2], 30, 3).is_err());
}

#[test]
fn damage_met_while_reading_ahead_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    drop(folder(temporary.path(), 0, 5));
    let path = temporary.path().join("shard-00000.fds");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[128] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let set = ShardSet::open(temporary.path(), 1).unwrap();
    let loader = ShardLoader::new(set, 5, 0).unwrap();
    let error = loader.prefetch(0, 2).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("block 0"), "{error}");
}
