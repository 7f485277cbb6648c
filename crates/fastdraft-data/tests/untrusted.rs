//! Bytes from elsewhere: an error or a value, never a panic, never without end.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use fastdraft_data::answers::read_answers;
use fastdraft_data::shard::{INDEX_FILE, ShardIndex, ShardSet, ShardSpec, write_set};
use fastdraft_data::source::licence::{classify, permits, spdx_tag};
use fastdraft_data::source::{Document, documents, read_prompts, rows_up_to, write_jsonl};
use fastdraft_data::{ChatTemplate, DataError, Message, Packer, Tokenizer};
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

/// Numbers that do not depend on anything but the seed.
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 33
    })
}

/// Some bytes changed, cut out, doubled or replaced by what parsers trip over.
fn mutate(good: &[u8], seed: u64) -> Vec<u8> {
    const NASTY: [&[u8]; 12] = [
        b"[[[[[[[[[[[[",
        b"{\"\":",
        b"null",
        b"-1",
        b"1e999",
        b"99999999999999999999",
        b"\\ud800",
        b"\xff\xfe",
        b"\"",
        b"(((a+)+)+)+$",
        b"{% for i in range(99999) %}",
        b"\0\0\0\0\0\0\0\0",
    ];
    let mut random = numbers(seed);
    let mut next = |below: usize| random.next().unwrap() as usize % below.max(1);
    let mut bytes = good.to_vec();
    for _ in 0..1 + next(4) {
        let at = next(bytes.len());
        let end = (at + 1 + next(12)).min(bytes.len());
        match next(5) {
            0 if at < end => bytes[at] ^= 1 << next(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => drop(bytes.splice(at..end, NASTY[next(NASTY.len())].iter().copied())),
            _ => bytes.truncate(end.max(1)),
        }
    }
    bytes
}

#[test]
fn mutated_shards_and_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let mut packer = Packer::new(6, 0);
    for i in 0..40u32 {
        packer.push_document(&[i, i + 1, i + 2]);
    }
    write_set(
        folder.path(),
        ShardSpec::new(6, 100, 7),
        &packer.finish().unwrap(),
        9,
    )
    .unwrap();
    let open = || {
        let set = ShardSet::open(folder.path(), 7)?;
        set.verify()?;
        set.read(&(0..set.rows()).collect::<Vec<_>>())
    };
    let rows = open().unwrap();
    for name in ["shard-00000.fds", INDEX_FILE] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        for seed in 0..3000 {
            let bad = mutate(&good, seed);
            fs::write(&path, &bad).unwrap();
            // What opens is what was written: every byte of a shard is under a checksum.
            if let Ok(found) = open() {
                assert_eq!(found, rows, "{name}, seed {seed}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn mutated_tokenizer_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    common::tokenizer().save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let mut usable = 0;
    for seed in 0..1500 {
        // The vocabulary takes most of the file; the settings before and after it decide more.
        let bad = mutate(&good, seed);
        if let Ok(tokenizer) = Tokenizer::from_bytes(&bad) {
            usable += 1;
            for special in [false, true] {
                if let Ok(ids) = tokenizer.encode("hello 12 <|end|> é\u{0}", special) {
                    let _ = tokenizer.decode(&ids, true);
                }
            }
            let _ = tokenizer.decode(&[0, 1, 255, 262, u32::MAX], false);
        }
    }
    assert!(usable > 0);
}

#[test]
fn mutated_vocabularies() {
    let good = common::vocabulary("smollm");
    for seed in 0..400 {
        let mut bad = good.clone();
        let mut random = numbers(seed);
        let mut next = |below: usize| random.next().unwrap() as usize % below;
        for _ in 0..1 + next(3) {
            let (at, merge) = (next(bad.tokens.len()), next(bad.merges.len()));
            match next(8) {
                0 => bad.tokens[at] = String::new(),
                1 => bad.tokens[at] = "x".repeat(next(1000)),
                2 => bad.merges[merge] = ["", " ", "a", "zz yy", "h  e", "h e l"][next(6)].into(),
                3 if at < bad.token_types.len() => bad.token_types[at] = next(9) as u32,
                4 => bad.unknown_id = Some(next(300) as u32),
                5 => bad.tokens.truncate(at + 1),
                6 => bad.token_types.truncate(at),
                _ => bad.pre = ["", "gpt-2", "default", "x"][next(4)].into(),
            }
            if bad.tokens.is_empty() || bad.token_types.is_empty() || bad.merges.is_empty() {
                break;
            }
        }
        if let Ok(tokenizer) = Tokenizer::from_bpe(&bad) {
            let ids = tokenizer
                .encode("hello 12 <|end|>", true)
                .unwrap_or_default();
            let _ = tokenizer.decode(&ids, false);
        }
    }
}

#[test]
fn templates_come_to_an_end() {
    let talk = [Message::user("hello"), Message::assistant("hi")];
    let render = |source: &str| ChatTemplate::new(source, None, None)?.render(&talk, true);
    let nested = "{% for a in range(99999) %}".repeat(3) + "x" + &"{% endfor %}".repeat(3);
    let empty = nested.replace('x', "");
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    for source in [
        nested.as_str(),
        &empty,
        recursive,
        &format!("{{{{ {deep} }}}}"),
        "{{ 'x' * 99999999999 }}",
        "{{ range(999999999) | list }}",
        "{% for a in range(99999) %}{{ 'xxxxxxxxxx' * 1000 }}{% endfor %}",
        "{{ '%999999999d' | format(1) }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(matches!(error, DataError::Template { .. }), "{error}");
    }
    // Long conversations are no reason to stop.
    let long = Message::user("x".repeat(8 << 20));
    let template = ChatTemplate::new(
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        None,
        None,
    );
    assert_eq!(
        template
            .unwrap()
            .render(&[long.clone(), long], true)
            .unwrap()
            .len(),
        16 << 20
    );
}

#[test]
fn mutated_templates() {
    let good = "{% if messages[0]['role'] != 'system' %}{{ '<|user|>system\\n' }}{% endif %}\
        {%- for m in messages -%}{{ m.role + '\\n' + (m['content'] | trim) ~ '<|end|>' }}\
        {%- if loop.last and add_generation_prompt %}{{ bos_token }}{% set x = namespace(n=0) %}\
        {% set x.n = x.n + 1 %}{{ x.n }}{% endif %}{% endfor %}";
    let talk = [Message::user("hello"), Message::assistant("hi")];
    for seed in 0..3000 {
        let bad = String::from_utf8_lossy(&mutate(good.as_bytes(), seed)).into_owned();
        if let Ok(template) = ChatTemplate::new(&bad, Some("<s>"), None) {
            let _ = template.render(&talk, true);
        }
    }
}

#[test]
fn a_line_of_a_gigabyte_is_one_error() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"{\"text\":\"").unwrap();
    // A hole: the file system need not store it.
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(b"\"}\n{\"text\":\"y\"}\n").unwrap();
    drop(file);
    let found: Vec<_> = documents(&path, "text").unwrap().collect();
    let error = found[0].as_ref().unwrap_err().to_string();
    assert!(
        error.ends_with("a.jsonl:1: the line is longer than 67108864 bytes"),
        "{error}"
    );
    assert_eq!(found[1].as_ref().unwrap().text, "y");
    assert_eq!(found.len(), 2);
}
