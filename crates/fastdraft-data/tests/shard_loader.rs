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
fn epochs_are_kept_and_the_number_of_shards_changes_nothing() {
    let (a, b, c) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let sets = || vec![folder(a.path(), 0, 12), folder(b.path(), 100, 4)];
    let loader = ShardLoader::from_epochs(sets(), &[1, 3], 6, 8).unwrap();
    let mut seen: Vec<u32> = (0..4)
        .flat_map(|step| names(&loader.batch(step).unwrap()))
        .collect();
    let order = seen.clone();
    seen.sort_unstable();
    let thrice = (100..104).flat_map(|row| [row; 3]);
    assert_eq!(seen, (0..12).chain(thrice).collect::<Vec<_>>());
    assert_eq!(loader.epochs(4), [1.0, 3.0]);

    // The same rows in one shard instead of three.
    let rows: Vec<u32> = (0..12).flat_map(|row| [row, row]).collect();
    let mut packer = Packer::new(1, 0);
    packer.push_document(&rows);
    write_set(
        c.path(),
        ShardSpec::new(1, 1000, 1),
        &packer.finish().unwrap(),
        100,
    )
    .unwrap();
    let one = ShardSet::open(c.path(), 1).unwrap();
    assert_eq!(
        (one.shards().len(), folder(a.path(), 0, 12).shards().len()),
        (1, 3)
    );
    let sets = vec![one, folder(b.path(), 100, 4)];
    let other = ShardLoader::from_epochs(sets, &[1, 3], 6, 8).unwrap();
    let again: Vec<u32> = (0..4)
        .flat_map(|step| names(&other.batch(step).unwrap()))
        .collect();
    assert_eq!(again, order);
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
