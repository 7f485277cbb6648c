//! A card for reading.

use super::{DataCard, DatasetKind, FileDigest};

pub(super) fn render(card: &DataCard) -> String {
    let provenance = &card.provenance;
    let kind = match card.kind {
        DatasetKind::Shards => "token shards",
        DatasetKind::Answers => "answers of a teacher",
        DatasetKind::Instructions => "instructions of a teacher",
    };
    let name = if provenance.name.is_empty() {
        "Dataset"
    } else {
        &provenance.name
    };
    let seed = provenance
        .seed
        .map_or("not stated".into(), |s| s.to_string());
    let mut out = format!(
        "# {}\n\nKind: {kind}. Vocabulary: {} tokens, fingerprint `{}`. Seed: {seed}.\n",
        plain(name),
        card.tokenizer.vocabulary_size,
        plain(&card.tokenizer.fingerprint),
    );
    let counts = &card.counts;
    out += "\n## Counts\n\n| documents | rows | tokens | labels | filling |\n|---:|---:|---:|---:|---:|\n";
    out += &format!(
        "| {} | {} | {} | {} | {} |\n",
        counts.documents, counts.rows, counts.tokens, counts.trained, counts.padding
    );
    out += "\n## Sources\n\n";
    if provenance.sources.is_empty() {
        out += "Not stated.\n";
    } else {
        out += "| source | licence | documents | tokens | file | bytes | sha256 |\n|---|---|---:|---:|---|---:|---|\n";
    }
    for source in &provenance.sources {
        let licence = source.licence.as_deref().unwrap_or("not stated");
        let lead = format!(
            "| {} | {} | {} | {} |",
            plain(&source.name),
            plain(licence),
            source.documents,
            source.tokens
        );
        if source.files.is_empty() {
            out += &format!("{lead} | | |\n");
        }
        for file in &source.files {
            out += &format!("{lead} {}\n", cells(file));
        }
    }
    let hygiene = &provenance.hygiene;
    if hygiene.input > 0 {
        out += &format!("\n## Hygiene\n\n{hygiene}.\n");
    }
    if !provenance.notes.is_empty() {
        out += "\n## Notes\n\n";
    }
    for note in &provenance.notes {
        out += &format!("- {}\n", plain(note));
    }
    out += "\n## Files\n\n| file | bytes | sha256 |\n|---|---:|---|\n";
    for file in &card.files {
        out += &format!("| {}\n", cells(file));
    }
    out
}

fn cells(file: &FileDigest) -> String {
    format!(
        "{} | {} | `{}` |",
        plain(&file.name),
        file.bytes,
        file.sha256
    )
}

/// Text that cannot end a table cell or begin another block.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '`' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
