//! Shards that come back as they were, or not at all.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use fastdraft_data::shard::{INDEX_FILE, Shard, ShardSet, ShardSetWriter, ShardSpec, ShardWriter};
use fastdraft_data::shard::{ShardIndex, write_set};
use fastdraft_data::{DataError, MaskedTokens, PackedTokens, Packer};
use proptest::prelude::*;

const FINGERPRINT: u64 = 0x0123_4567_89ab_cdef;

fn packed(sequence_length: usize, examples: u32, vocabulary: u32) -> PackedTokens {
    let mut packer = Packer::new(sequence_length, 0);
    for i in 0..examples {
        let id = |j: u32| (i * 7919 + j * 104_729) % vocabulary;
        let prompt: Vec<u32> = (0..i % 5 + 1).map(id).collect();
        let answer: Vec<u32> = (9..i % 7 + 10).map(id).collect();
        packer.push_masked(&MaskedTokens::from_answer(&prompt, &answer).unwrap());
    }
    packer.finish().unwrap()
}

fn spec(sequence_length: usize, vocabulary_size: usize) -> ShardSpec {
    ShardSpec {
        rows_per_block: 3,
        ..ShardSpec::new(sequence_length, vocabulary_size, FINGERPRINT)
    }
}

fn write_one(path: &Path, spec: &ShardSpec, rows: &PackedTokens) {
    let mut writer = ShardWriter::create(path, spec).unwrap();
    writer.push(rows).unwrap();
    writer.finish().unwrap();
}

fn read_all(path: &Path) -> Result<PackedTokens, DataError> {
    let shard = Shard::open(path)?;
    shard.expect_vocabulary(FINGERPRINT)?;
    shard.read(&(0..shard.rows()).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn round_trip(
        length in 1usize..20,
        examples in 1u32..40,
        vocabulary in prop::sample::select(vec![50u32, 65_536, 65_537, 200_000]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fds");
        let rows = packed(length, examples, vocabulary);
        write_one(&path, &spec(length, vocabulary as usize), &rows);
        let shard = Shard::open(&path).unwrap();
        shard.verify().unwrap();
        let header = shard.header();
        prop_assert_eq!(header.trained, rows.trained() as u64);
        prop_assert_eq!(header.padding, rows.padding() as u64);
        prop_assert_eq!(header.documents, rows.documents() as u64);
        prop_assert_eq!(header.dtype.bytes(), if vocabulary > 65_536 { 4 } else { 2 });
        let back = read_all(&path).unwrap();
        prop_assert_eq!((&back.ids, &back.mask, &back.begins), (&rows.ids, &rows.mask, &rows.begins));
        for row in 0..rows.rows() {
            prop_assert_eq!(back.row_padding(row), rows.row_padding(row));
        }
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fds");
        let start: &[u8] = if magic { b"FDSHARD\n\x01\0\0\0\x80\0\0\0" } else { b"" };
        fs::write(&path, [start, &bytes].concat()).unwrap();
        prop_assert!(Shard::open(&path).is_err());
    }

    #[test]
    fn a_valid_checksum_over_any_header_never_panics(
        fields in prop::collection::vec(
            prop_oneof![0u32..5, Just(128), Just(u32::MAX), any::<u32>()], 26),
        rest in 0usize..300,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fds");
        let mut bytes = b"FDSHARD\n\x01\0\0\0\x80\0\0\0".to_vec();
        bytes.extend(fields.iter().take(17).flat_map(|field| field.to_le_bytes()));
        bytes.resize(124, 0);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(128 + rest, 7);
        fs::write(&path, &bytes).unwrap();
        if let Ok(shard) = Shard::open(&path) {
            let _ = shard.verify();
        }
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fds");
    write_one(&path, &spec(6, 100), &packed(6, 11, 100));
    let good = fs::read(&path).unwrap();
    assert!(good.len() > 300 && good.len() < 2000, "{}", good.len());
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            // A new file, as an open one must not be changed in place.
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bad).unwrap();
            let error = read_all(&path).unwrap_err().to_string();
            assert!(error.contains("a.fds"), "byte {at}: {error}");
        }
    }
}

#[test]
fn every_other_length_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fds");
    write_one(&path, &spec(6, 100), &packed(6, 11, 100));
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good[..length]).unwrap();
        let error = read_all(&path).unwrap_err();
        assert!(
            matches!(error, DataError::ShardLength { found, .. } if found == length as u64),
            "{length}: {error}"
        );
    }
    fs::write(&path, [&good[..], &[0]].concat()).unwrap();
    assert!(read_all(&path).is_err());
}

#[test]
fn every_flipped_byte_of_the_index_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = packed(6, 30, 100);
    write_set(folder.path(), spec(6, 100), &rows, 4).unwrap();
    let path = folder.path().join(INDEX_FILE);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        fs::write(&path, &bad).unwrap();
        if let Ok(set) = ShardSet::open(folder.path(), FINGERPRINT) {
            let all: Vec<u64> = (0..set.rows()).collect();
            assert_eq!(set.read(&all).unwrap().ids, rows.ids, "byte {at}");
        }
    }
}

#[test]
fn another_vocabulary_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path(), spec(6, 100), &packed(6, 9, 100), 4).unwrap();
    let error = ShardSet::open(folder.path(), 5).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::ShardVocabulary {
                expected: 5,
                found: FINGERPRINT,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn rows_that_do_not_fit_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fds");
    let mut writer = ShardWriter::create(&path, &spec(6, 50)).unwrap();
    let error = writer.push(&packed(6, 9, 100)).unwrap_err().to_string();
    assert!(error.contains("in a vocabulary of 50"), "{error}");
    let error = writer.push(&packed(7, 9, 50)).unwrap_err().to_string();
    assert!(error.contains("sequence length 7"), "{error}");
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for bad in [
        spec(6, 0),
        spec(usize::MAX, 9),
        ShardSpec {
            rows_per_block: 0,
            ..spec(6, 9)
        },
    ] {
        assert!(ShardWriter::create(&path, &bad).is_err());
    }
}

#[test]
fn parallel_and_streamed_folders_are_the_same_bytes() {
    let rows = packed(8, 200, 100);
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = write_set(a.path(), spec(8, 100), &rows, 7).unwrap();
    let mut writer = ShardSetWriter::create(b.path(), spec(8, 100), 7).unwrap();
    writer.push(&rows).unwrap();
    let second = writer.finish().unwrap();
    assert_eq!(first, second);
    assert_eq!(first, ShardIndex::read(a.path()).unwrap());
    for entry in &first.shards {
        let bytes = |folder: &Path| fs::read(folder.join(&entry.file)).unwrap();
        assert_eq!(bytes(a.path()), bytes(b.path()));
    }
    let set = ShardSet::open(a.path(), FINGERPRINT).unwrap();
    set.verify().unwrap();
    let all: Vec<u64> = (0..set.rows()).collect();
    assert_eq!(set.read(&all).unwrap().ids, rows.ids);
    assert!(matches!(
        set.read(&[set.rows()]),
        Err(DataError::NoRow { .. })
    ));
}

#[test]
fn writers_with_a_thread_each() {
    let folder = tempfile::tempdir().unwrap();
    let rows = packed(8, 60, 100);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (rows, path) = (&rows, folder.path().join(format!("{number}.fds")));
            scope.spawn(move || write_one(&path, &spec(8, 100), rows));
        }
    });
    for number in 0..6 {
        let back = read_all(&folder.path().join(format!("{number}.fds"))).unwrap();
        assert_eq!(back.ids, rows.ids);
    }
}

#[test]
fn an_unfinished_folder_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardSetWriter::create(folder.path(), spec(6, 100), 2).unwrap();
    writer.push(&packed(6, 9, 100)).unwrap();
    drop(writer);
    assert!(ShardSet::open(folder.path(), FINGERPRINT).is_err());
}
