//! Which licence a file is under, and whether that is allowed.

const DEEPEST: usize = 32;

/// Whether an SPDX licence expression can be met with allowed licences only.
///
/// `/` counts as `OR`, as in old crate manifests. An exception (`WITH`) only adds rights. What
/// does not parse is not allowed.
///
/// ```
/// use fastdraft_data::source::licence::permits;
///
/// assert!(permits("(MIT OR GPL-3.0-only) AND Apache-2.0", &["MIT", "Apache-2.0"]));
/// assert!(!permits("MIT AND GPL-3.0-only", &["MIT"]));
/// ```
#[must_use]
pub fn permits<S: AsRef<str>>(expression: &str, allowed: &[S]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        allowed: &|name| {
            let name = name.trim_end_matches('+');
            allowed
                .iter()
                .any(|allowed| allowed.as_ref().eq_ignore_ascii_case(name))
        },
    };
    parser.any(0) == Some(true) && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if first.eq_ignore_ascii_case(word) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self, depth: usize) -> Option<bool> {
        let mut met = self.all(depth)?;
        while self.take("OR") {
            met |= self.all(depth)?;
        }
        Some(met)
    }

    fn all(&mut self, depth: usize) -> Option<bool> {
        let mut met = self.one(depth)?;
        while self.take("AND") {
            met &= self.one(depth)?;
        }
        Some(met)
    }

    fn one(&mut self, depth: usize) -> Option<bool> {
        if depth > DEEPEST {
            return None;
        }
        if self.take("(") {
            let met = self.any(depth + 1)?;
            return self.take(")").then_some(met);
        }
        let name = self.name()?;
        if self.take("WITH") {
            self.name()?;
        }
        Some((self.allowed)(name))
    }

    fn name(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        let operator = ["(", ")", "AND", "OR", "WITH"]
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word));
        self.words = rest;
        (!operator).then_some(first)
    }
}

/// The licence whose text a file holds, as SPDX identifier; the usual ones are known.
#[must_use]
pub fn classify(text: &str) -> Option<&'static str> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .take(1500)
        .map(str::to_lowercase)
        .collect();
    let text = words.join(" ");
    let found = |phrase: &str| text.contains(phrase);
    PHRASES
        .iter()
        .find(|(_, phrases)| phrases.iter().all(|phrase| found(phrase)))
        .map(|(name, _)| *name)
}

/// From the most to the least particular, as some texts name others.
const PHRASES: &[(&str, &[&str])] = &[
    (
        "AGPL-3.0-only",
        &["gnu affero general public license version 3"],
    ),
    (
        "LGPL-3.0-only",
        &["gnu lesser general public license version 3"],
    ),
    (
        "LGPL-2.1-only",
        &["gnu lesser general public license version 2.1"],
    ),
    ("GPL-3.0-only", &["gnu general public license version 3"]),
    ("GPL-2.0-only", &["gnu general public license version 2"]),
    ("MPL-2.0", &["mozilla public license version 2.0"]),
    ("Apache-2.0", &["apache license version 2.0"]),
    ("CC0-1.0", &["cc0 1.0 universal"]),
    (
        "Unlicense",
        &["this is free and unencumbered software released into the public domain"],
    ),
    ("BSL-1.0", &["boost software license version 1.0"]),
    (
        "MIT",
        &[
            "permission is hereby granted free of charge to any person obtaining a copy",
            "the above copyright notice and this permission notice",
        ],
    ),
    (
        "BSD-3-Clause",
        &[
            "redistribution and use in source and binary forms",
            "neither the name",
        ],
    ),
    (
        "BSD-2-Clause",
        &["redistribution and use in source and binary forms"],
    ),
    (
        "ISC",
        &["permission to use copy modify and", "appear in all copies"],
    ),
    (
        "0BSD",
        &[
            "permission to use copy modify and",
            "with or without fee is hereby granted",
        ],
    ),
];

/// The expression behind `SPDX-License-Identifier:` in the first lines of a file.
#[must_use]
pub fn spdx_tag(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .take(30)
        .find_map(|line| line.split_once("SPDX-License-Identifier:"))?
        .1;
    let line = line.trim().trim_end_matches("*/").trim_end_matches("-->");
    Some(line.trim()).filter(|line| !line.is_empty())
}

/// The licence that a `Cargo.toml`, `pyproject.toml` or `package.json` states.
pub(crate) fn stated(file_name: &str, text: &str) -> Option<String> {
    let quoted = |rest: &str| {
        let rest = rest.trim_start().strip_prefix('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    match file_name {
        "Cargo.toml" | "pyproject.toml" => text.lines().find_map(|line| {
            let rest = line.trim_start().strip_prefix("license")?;
            quoted(rest.trim_start().strip_prefix('=')?)
        }),
        "package.json" => serde_json::from_str::<serde_json::Value>(text)
            .ok()?
            .get("license")?
            .as_str()
            .map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed = ["MIT", "Apache-2.0", "0BSD"];
        for good in [
            "mit",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0-only",
            "(MIT) AND 0BSD",
            "Apache-2.0 WITH LLVM-exception",
            "Unicode-3.0 AND MIT OR MIT",
        ] {
            assert!(permits(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "OR",
            "MIT WITH",
        ] {
            assert!(!permits(bad, &allowed), "{bad}");
        }
        assert!(!permits(&"(".repeat(100_000), &allowed));
    }

    #[test]
    fn texts_and_tags() {
        let mit = "MIT License\n\nPermission is hereby granted, free of charge, to any\nperson \
                   obtaining a copy of … The above copyright notice and this permission notice …";
        assert_eq!(classify(mit), Some("MIT"));
        let apache = "  Apache License\n  Version 2.0, January 2004";
        assert_eq!(classify(apache), Some("Apache-2.0"));
        assert_eq!(classify("all rights reserved"), None);
        assert_eq!(
            spdx_tag("#!/bin/sh\n/* SPDX-License-Identifier: MIT OR 0BSD */"),
            Some("MIT OR 0BSD")
        );
        assert_eq!(spdx_tag("MIT"), None);
        let manifest = "[package]\nlicense-file = \"x\"\nlicense = \"MIT\"\n";
        assert_eq!(stated("Cargo.toml", manifest).as_deref(), Some("MIT"));
        assert_eq!(
            stated("package.json", "{\"license\":\"ISC\"}").as_deref(),
            Some("ISC")
        );
    }
}
