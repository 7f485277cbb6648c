//! A directory of source code.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use super::{Document, licence};
use crate::DataError;

/// Which files are taken.
#[derive(Debug, Clone)]
pub struct CodeConfig {
    /// Language of each extension, without the dot; files with other extensions are passed over.
    pub extensions: BTreeMap<String, String>,
    /// SPDX identifiers of the licences that are fine; all files are taken when it is `None`.
    pub licences: Option<Vec<String>>,
    /// Files with fewer bytes are passed over.
    pub min_bytes: u64,
    /// Files with more bytes are passed over.
    pub max_bytes: u64,
}

impl Default for CodeConfig {
    /// Common languages under permissive licences, files of 32 bytes to 1 MiB.
    fn default() -> Self {
        let languages = [
            ("c", "c"),
            ("cc", "c++"),
            ("cpp", "c++"),
            ("go", "go"),
            ("h", "c"),
            ("hpp", "c++"),
            ("java", "java"),
            ("js", "javascript"),
            ("py", "python"),
            ("rs", "rust"),
            ("sh", "shell"),
            ("ts", "typescript"),
        ];
        let licences = [
            "0BSD",
            "Apache-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSL-1.0",
            "CC0-1.0",
            "ISC",
            "MIT",
            "Unlicense",
            "Zlib",
        ];
        Self {
            extensions: languages
                .map(|(extension, name)| (extension.into(), name.into()))
                .into(),
            licences: Some(licences.map(String::from).to_vec()),
            min_bytes: 32,
            max_bytes: 1 << 20,
        }
    }
}

/// A source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeFile {
    /// Path inside the directory, with `/`.
    pub path: String,
    /// Language by the extension.
    pub language: String,
    /// Licence, as far as one was found.
    pub licence: Option<String>,
    /// The text.
    pub text: String,
}

impl From<CodeFile> for Document {
    fn from(file: CodeFile) -> Self {
        Self {
            id: file.path,
            text: file.text,
        }
    }
}

/// What happened to the files seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeReport {
    /// Files returned.
    pub taken: u64,
    /// Files with an extension that is not wanted.
    pub extension: u64,
    /// Files without a licence that is fine.
    pub licence: u64,
    /// Files that are too short or too long.
    pub size: u64,
    /// Files that are not UTF-8.
    pub encoding: u64,
}

struct Folder {
    entries: std::vec::IntoIter<DirEntry>,
    licence: Option<String>,
}

/// The files of a directory, read one at a time.
pub struct CodeFiles {
    root: PathBuf,
    config: CodeConfig,
    folders: Vec<Folder>,
    report: CodeReport,
}

impl std::fmt::Debug for CodeFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeFiles")
            .field("root", &self.root)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// Walks a directory in the order of names; hidden files, hidden folders and links are left out.
///
/// A file's licence is the SPDX tag in its first lines; else what `Cargo.toml`, `pyproject.toml`
/// or `package.json` states, or the text of a `LICENSE` or `COPYING`, in its folder or the
/// nearest one above inside the directory.
///
/// ```no_run
/// use fastdraft_data::source::code::{CodeConfig, files};
///
/// let mut files = files("vendor", CodeConfig::default())?;
/// for file in &mut files {
///     let file = file?;
///     println!("{} {:?}", file.path, file.licence);
/// }
/// println!("{:?}", files.report());
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
///
/// # Errors
///
/// [`DataError::Io`] when the directory cannot be read; the iterator returns it for files and
/// folders inside, and goes on after it.
pub fn files(root: impl AsRef<Path>, config: CodeConfig) -> Result<CodeFiles, DataError> {
    let root = root.as_ref();
    let first = Folder::open(root, None)?;
    Ok(CodeFiles {
        root: root.to_path_buf(),
        config,
        folders: vec![first],
        report: CodeReport::default(),
    })
}

impl Folder {
    fn open(path: &Path, above: Option<String>) -> Result<Self, DataError> {
        let mut entries = fs::read_dir(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(DataError::io(path))?;
        entries.sort_by_key(DirEntry::file_name);
        let licence = entries.iter().find_map(stated).or_else(|| {
            let texts: Vec<_> = entries.iter().filter_map(licence_text).collect();
            // Several texts side by side are a choice.
            (!texts.is_empty()).then(|| texts.join(" OR "))
        });
        Ok(Self {
            entries: entries.into_iter(),
            licence: licence.or(above),
        })
    }
}

fn stated(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let name = name.to_str()?;
    ["Cargo.toml", "pyproject.toml", "package.json"]
        .contains(&name)
        .then_some(())?;
    licence::stated(name, &short_text(entry)?)
}

fn licence_text(entry: &DirEntry) -> Option<&'static str> {
    let name = entry.file_name().to_str()?.to_uppercase();
    let named = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE"]
        .iter()
        .any(|start| name.starts_with(start));
    if !named {
        return None;
    }
    licence::classify(&short_text(entry)?)
}

fn short_text(entry: &DirEntry) -> Option<String> {
    let kind = entry.metadata().ok()?;
    let short = kind.is_file() && kind.len() < 1 << 20;
    short.then(|| fs::read_to_string(entry.path()).ok())?
}

impl CodeFiles {
    /// What happened to the files seen so far.
    #[must_use]
    pub const fn report(&self) -> CodeReport {
        self.report
    }

    fn visit(
        &mut self,
        entry: &DirEntry,
        licence: Option<String>,
    ) -> Result<Option<CodeFile>, DataError> {
        let path = entry.path();
        let metadata = entry.metadata().map_err(DataError::io(&path))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden || metadata.is_symlink() {
            return Ok(None);
        }
        if metadata.is_dir() {
            let folder = Folder::open(&path, licence)?;
            self.folders.push(folder);
            return Ok(None);
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let Some(language) = extension.and_then(|name| self.config.extensions.get(name)) else {
            self.report.extension += 1;
            return Ok(None);
        };
        let language = language.clone();
        if !(self.config.min_bytes..=self.config.max_bytes).contains(&metadata.len()) {
            self.report.size += 1;
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(DataError::io(&path))?;
        let Ok(text) = String::from_utf8(bytes) else {
            self.report.encoding += 1;
            return Ok(None);
        };
        let licence = licence::spdx_tag(&text).map(String::from).or(licence);
        if let Some(allowed) = &self.config.licences
            && !licence
                .as_deref()
                .is_some_and(|licence| licence::permits(licence, allowed))
        {
            self.report.licence += 1;
            return Ok(None);
        }
        self.report.taken += 1;
        let parts: Vec<_> = path
            .strip_prefix(&self.root)
            .unwrap_or(&path)
            .iter()
            .map(|part| part.to_string_lossy())
            .collect();
        Ok(Some(CodeFile {
            path: parts.join("/"),
            language,
            licence,
            text,
        }))
    }
}

impl Iterator for CodeFiles {
    type Item = Result<CodeFile, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let folder = self.folders.last_mut()?;
            let licence = folder.licence.clone();
            let Some(entry) = folder.entries.next() else {
                self.folders.pop();
                continue;
            };
            if let Some(found) = self.visit(&entry, licence).transpose() {
                return Some(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_licences_and_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let text = b"fn main() { /* something to learn */ }";
        write(
            "b/Cargo.toml",
            b"[package]\nlicense = \"MIT OR Apache-2.0\"\n",
        );
        write("b/src/main.rs", text);
        write("b/src/bad.rs", &[0xff; 40]);
        write("b/notes.txt", text);
        write("c/LICENSE", b"GNU GENERAL PUBLIC LICENSE Version 3");
        write("c/a.rs", text);
        write(
            "c/b.rs",
            &[b"// SPDX-License-Identifier: MIT\n", &text[..]].concat(),
        );
        write("d.rs", text);
        write("b/src/short.rs", b"x");
        write(".git/e.rs", text);
        let mut found = files(root.path(), CodeConfig::default()).unwrap();
        let names: Vec<_> = found.by_ref().map(|file| file.unwrap().path).collect();
        assert_eq!(names, ["b/src/main.rs", "c/b.rs"]);
        let expected = CodeReport {
            taken: 2,
            extension: 3,
            licence: 2,
            size: 1,
            encoding: 1,
        };
        assert_eq!(found.report(), expected);
        let all = CodeConfig {
            licences: None,
            ..CodeConfig::default()
        };
        assert_eq!(files(root.path(), all).unwrap().count(), 4);
    }
}
