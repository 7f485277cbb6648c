//! Bytes from elsewhere: an error or a value, never a panic, never without end.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use fastdraft_data::answers::read_answers;
use fastdraft_data::shard::{INDEX_FILE, ShardIndex, ShardSet};
use fastdraft_data::source::licence::{classify, permits, spdx_tag};
use fastdraft_data::source::{Document, documents, read_prompts, rows_up_to, write_jsonl};
use proptest::prelude::*;

const LINES: &str =
    "{\"id\":\"a\",\"text\":\"x\\u00e9y\"}\n\n{\"id\":7,\"text\":\"\"}\n{\"text\":\"z\"}\n";

/// How many rows come, good or bad.
fn count(path: &Path) -> usize {
    let lines = documents(path, "text").unwrap();
    lines.take(10_000).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_as_lines(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
            let path = folder.path().join(name);
            fs::write(&path, &bytes).unwrap();
            prop_assert!(count(&path) <= 301);
            let _ = (read_answers(&path), read_prompts(&path));
        }
    }

    #[test]
    fn damaged_lines(at in 0..LINES.len(), byte: u8, cut in 0..LINES.len()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut bytes = LINES.as_bytes().to_vec();
        bytes[at] = byte;
        fs::write(&path, &bytes).unwrap();
        let found: Vec<_> = documents(&path, "text").unwrap().collect();
        prop_assert!(found.len() <= 5);
        prop_assert!(found.iter().filter(|row| row.is_ok()).count() >= 1);
        fs::write(&path, &LINES.as_bytes()[..cut]).unwrap();
        prop_assert!(count(&path) <= 3);
    }

    #[test]
    fn damaged_archives(at in 0.0f64..1.0, flip in 1u8..=255, cut in 0.0f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let row = |i: usize| Document { id: i.to_string(), text: format!("text {}", i * i) };
        let rows: Vec<Document> = (0..200).map(row).collect();
        for name in ["a.jsonl.gz", "a.jsonl.zst"] {
            let path = folder.path().join(name);
            write_jsonl(&path, &rows).unwrap();
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad[(at * good.len() as f64) as usize] ^= flip;
            fs::write(&path, &bad).unwrap();
            count(&path);
            let cut = (cut * good.len() as f64) as usize;
            fs::write(&path, &good[..cut]).unwrap();
            let whole = documents(&path, "text").unwrap().all(|row| row.is_ok());
            prop_assert!(!whole || cut == 0, "{} at {}", name, cut);
        }
    }

    #[test]
    fn any_index(text in "[\\[\\]{}\":,a-z0-9]{0,80}", field in any::<i64>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(INDEX_FILE);
        fs::write(&path, text).unwrap();
        prop_assert!(ShardIndex::read(folder.path()).is_err());
        let entry = format!(
            "{{\"file\":\"../x\",\"rows\":{field},\"trained\":0,\"documents\":0,\"padding\":0,\"crc32\":\"\"}}"
        );
        let index = format!(
            "{{\"format\":\"fastdraft-shards\",\"version\":1,\"fingerprint\":\"\",\"row_width\":0,\
             \"rows\":{field},\"shards\":[{entry}]}}"
        );
        fs::write(&path, index).unwrap();
        prop_assert!(ShardSet::open(folder.path(), 0).is_err());
    }

    #[test]
    fn any_licence(text in "[ ()/+a-zA-Z.-]{0,60}", words in "(MIT|OR|AND|WITH|[()]| ){0,12}") {
        let allowed = ["MIT"];
        let _ = (permits(&text, &allowed), permits(&words, &allowed));
        let _ = (classify(&text), spdx_tag(&text));
    }
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl.gz");
    let long = Document {
        id: "a".into(),
        text: "x".repeat(30 << 20),
    };
    let short = Document {
        id: "b".into(),
        text: "y".into(),
    };
    write_jsonl(&path, [&long, &short]).unwrap();
    let found: Vec<_> = rows_up_to::<Document>(&path, 1 << 16).unwrap().collect();
    assert!(found[0].is_err());
    assert_eq!(found[1].as_ref().unwrap(), &short);
    assert_eq!(found.len(), 2);
}

#[test]
fn deep_nesting_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "[".repeat(1 << 20)).unwrap();
    assert!(documents(&path, "text").unwrap().next().unwrap().is_err());
    fs::write(folder.path().join(INDEX_FILE), "[".repeat(1 << 20)).unwrap();
    assert!(ShardIndex::read(folder.path()).is_err());
}
