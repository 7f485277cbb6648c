//! Files that appear together.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::Path,
};

use crate::error::ModelError;

/// The file without which a directory is no model.
pub(super) const LAST: &str = "config.json";

pub(super) fn file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    fs::write(path, bytes).map_err(|source| ModelError::io(path, source))
}

/// Puts the files that `fill` writes into `dir`: all of them, or none.
pub(super) fn directory(
    dir: &Path,
    fill: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let failed = |source| ModelError::io(dir, source);
    let exists = dir.exists();
    // Beside its place, a whole directory can be renamed; inside it, files can even if it is the
    // root of a file system.
    let home = if exists { dir } else { parent(dir) };
    fs::create_dir_all(home).map_err(|source| ModelError::io(home, source))?;
    let staging = tempfile::Builder::new()
        .prefix(".model")
        .tempdir_in(home)
        .map_err(|source| ModelError::io(home, source))?;
    // A folder of its own has the usual permissions, where the temporary one is private.
    let files = staging.path().join("new");
    fs::create_dir(&files).map_err(failed)?;
    fill(&files)?;
    let names = names(&files).map_err(failed)?;
    // safetensors makes its files private; they are as public as the others.
    let usual = fs::metadata(files.join(LAST)).map(|file| file.permissions());
    for name in &names {
        if let Ok(usual) = &usual {
            fs::set_permissions(files.join(name), usual.clone()).map_err(failed)?;
        }
        let sync = fs::File::open(files.join(name)).and_then(|file| file.sync_all());
        sync.map_err(|source| ModelError::io(dir.join(name), source))?;
    }
    if exists {
        let old = staging.path().join("old");
        fs::create_dir(&old).map_err(failed)?;
        replace(dir, &files, &old, &names)
    } else {
        fs::rename(&files, dir).map_err(failed)
    }
}

fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Names in a folder, [`LAST`] last.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(|name| (name == LAST, name.clone()));
    Ok(names)
}

/// Renames files into `dir` and those they replace into `old`; undoes it where one cannot be.
fn replace(dir: &Path, new: &Path, old: &Path, names: &[OsString]) -> Result<(), ModelError> {
    let mut done = Vec::new();
    // The old configuration leaves first and the new one comes last.
    let moves = std::iter::once((OsStr::new(LAST), false)).chain(
        names
            .iter()
            .flat_map(|name| [(name.as_os_str(), false), (name.as_os_str(), true)]),
    );
    for (name, place) in moves {
        let target = dir.join(name);
        let (from, to) = if place {
            (new.join(name), target)
        } else if target.symlink_metadata().is_ok() {
            (target, old.join(name))
        } else {
            continue;
        };
        if let Err(source) = fs::rename(&from, &to) {
            for (from, to) in done.into_iter().rev() {
                // What cannot be undone stays in the folder of old files.
                let _ = fs::rename::<_, std::path::PathBuf>(to, from);
            }
            return Err(ModelError::io(dir.join(name), source));
        }
        done.push((from, to));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn put(dir: &Path, text: &str) {
        for name in ["model.safetensors", "tokenizer.json", LAST] {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_directory_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a").join("model");
        let refused = directory(&dir, |files| {
            put(files, "new");
            Err(ModelError::MissingTensor { name: "x".into() })
        });
        assert!(matches!(refused, Err(ModelError::MissingTensor { .. })));
        assert!(!dir.exists());
        directory(&dir, |files| {
            put(files, "new");
            Ok(())
        })
        .unwrap();
        assert_eq!(read(&dir).len(), 3);
        assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_replaced_and_others_stay() {
        let home = tempfile::tempdir().unwrap();
        put(home.path(), "old");
        fs::write(home.path().join("README.md"), "mine").unwrap();
        directory(home.path(), |files| {
            fs::write(files.join("model.safetensors"), "new").unwrap();
            file(&files.join(LAST), b"new")
        })
        .unwrap();
        let files = read(home.path());
        let expected = [
            ("README.md", "mine"),
            (LAST, "new"),
            ("model.safetensors", "new"),
            ("tokenizer.json", "old"),
        ];
        assert_eq!(
            files,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn a_failed_replacement_is_undone() {
        let home = tempfile::tempdir().unwrap();
        let (new, old) = (home.path().join("new"), home.path().join("old"));
        let dir = home.path().join("model");
        for folder in [&new, &old, &dir] {
            fs::create_dir(folder).unwrap();
        }
        put(&dir, "old");
        put(&new, "new");
        let before = read(&dir);
        let mut names = names(&new).unwrap();
        assert_eq!(names.last().unwrap(), LAST);
        // One more file than there is fails after the others were replaced.
        names.insert(2, "absent.json".into());
        let error = replace(&dir, &new, &old, &names).unwrap_err();
        assert!(error.to_string().contains("absent.json"), "{error}");
        assert_eq!(read(&dir), before);
    }
}
