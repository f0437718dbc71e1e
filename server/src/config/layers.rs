//! The stack of configuration layers, and changes to it while the server runs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::check::Findings;
use super::defaults::DEFAULT_INI;
use super::settings::Settings;
use super::{file, ini};

/// Sections by name, their values by key.
pub type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Sections that can't be changed over HTTP: what they hold names programs to be run, or servers to
/// be asked in this one's name.
const READ_ONLY_SECTIONS: [&str; 10] = [
    "daemons",
    "external",
    "httpd_design_handlers",
    "httpd_db_handlers",
    "httpd_global_handlers",
    "native_query_servers",
    "os_daemons",
    "query_servers",
    "feature_flags",
    "proxy",
];

/// What is wrong with a configuration, or with a change to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file can't be read or written.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// An option's value doesn't mean anything.
    #[error("[{section}] {key} = {value}: {expected}")]
    Value {
        /// The option's section.
        section: String,
        /// The option.
        key: String,
        /// The value as given.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// The system has no random numbers to give.
    #[error("no random numbers: {0}")]
    Randomness(getrandom::Error),
    /// A section, key or value that the file format can't carry.
    #[error("Invalid configuration {0}")]
    Text(&'static str),
    /// A line of a file that has such a value.
    #[error(
        "{path}: [{section}] {key}: the value holds a control character, such as a carriage return"
    )]
    Control {
        /// The file.
        path: PathBuf,
        /// The option's section.
        section: String,
        /// The option.
        key: String,
    },
    /// A section that HTTP clients may not change.
    #[error("Config section blacklisted for modification over HTTP API.")]
    SectionReadOnly,
    /// An option that isn't in `[chttpd] config_whitelist`.
    #[error("This config variable is read-only")]
    KeyReadOnly,
}

impl ConfigError {
    /// An option that is set to something that means nothing.
    pub(super) fn value(section: &str, key: &str, value: &str, expected: &'static str) -> Self {
        let value =
            if super::secrets::is_secret(section, key) { super::secrets::MASK } else { value };
        let (section, key, value) = (section.to_owned(), key.to_owned(), value.to_owned());
        Self::Value { section, key, value, expected }
    }
}

/// The configuration: built-in defaults, then files, then environment and flags, each overriding
/// the one before. Changes made while the server runs go to the last file.
///
/// ```
/// use settee_server::config::Config;
///
/// let dir = tempfile::tempdir().unwrap();
/// let file = dir.path().join("local.ini");
/// let config = Config::load(vec![file.clone()], &[]).unwrap();
/// assert_eq!(config.get("couchdb", "max_document_size").as_deref(), Some("8000000"));
/// config.set("couchdb", "max_document_size", Some("1000"), true).unwrap();
/// assert_eq!(config.settings().max_document_size, 1000);
/// assert_eq!(std::fs::read_to_string(file).unwrap(), "[couchdb]\nmax_document_size = 1000\n");
/// ```
pub struct Config {
    layers: Mutex<Layers>,
    files: Vec<PathBuf>,
    /// From environment and flags: section, key, value. They come back on a reload.
    overrides: Vec<(String, String, String)>,
}

/// The texts in effect.
#[derive(Clone, Default)]
pub(super) struct Layers {
    defaults: Sections,
    given: Sections,
    /// The options that somebody asked for, while a check wants to know; by section and key, where an
    /// empty key stands for a section as a whole.
    asked: Option<RefCell<BTreeSet<(String, String)>>>,
}

impl Layers {
    /// The defaults alone.
    pub(super) fn built_in() -> Self {
        let mut layers = Self::default();
        for pair in ini::pairs(DEFAULT_INI) {
            add(&mut layers.defaults, pair.section, pair.key, pair.value);
        }
        layers
    }

    /// The defaults and one text over them.
    #[cfg(test)]
    pub(super) fn with(text: &str) -> Self {
        let mut layers = Self::built_in();
        for pair in ini::pairs(text) {
            add(&mut layers.given, pair.section, pair.key, pair.value);
        }
        layers
    }

    /// The value in effect.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.given(section, key).or_else(|| find(&self.defaults, section, key))
    }

    /// The value that a file, flag or client has given.
    pub(super) fn given(&self, section: &str, key: &str) -> Option<&str> {
        self.note(section, key);
        find(&self.given, section, key)
    }

    /// A whole section: whatever keys it has mean something.
    pub(super) fn section(&self, name: &str) -> BTreeMap<String, String> {
        self.note(name, "");
        let mut pairs = self.defaults.get(name).cloned().unwrap_or_default();
        pairs.extend(self.given.get(name).cloned().unwrap_or_default());
        pairs
    }

    /// The names of all sections.
    pub(super) fn section_names(&self) -> BTreeSet<String> {
        self.defaults.keys().chain(self.given.keys()).cloned().collect()
    }

    fn note(&self, section: &str, key: &str) {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().insert((section.to_owned(), key.to_owned()));
        }
    }

    fn merged(&self) -> Sections {
        let mut all = self.defaults.clone();
        for (section, pairs) in &self.given {
            all.entry(section.clone()).or_default().extend(pairs.clone());
        }
        all
    }
}

fn find<'s>(sections: &'s Sections, section: &str, key: &str) -> Option<&'s str> {
    sections.get(section)?.get(key).map(String::as_str)
}

fn add(sections: &mut Sections, section: &str, key: &str, value: &str) {
    sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
}

impl Config {
    /// Reads the files in order and puts the overrides on top. The last file may be missing: it is
    /// created by the first change.
    ///
    /// # Errors
    ///
    /// When a file can't be read, or an option's value means nothing.
    pub fn load(
        files: Vec<PathBuf>,
        overrides: &[(String, String, String)],
    ) -> Result<Self, ConfigError> {
        let config = Self { layers: Mutex::default(), files, overrides: overrides.to_vec() };
        config.reload()?;
        Ok(config)
    }

    /// Reads the files again, dropping what was changed in memory only. Nothing changes when
    /// there is something wrong with them.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<(), ConfigError> {
        let mut layers = Layers::built_in();
        for path in &self.files {
            for pair in ini::pairs(&self.read(path)?) {
                if pair.value.chars().any(|c| c.is_control() && c != '\t') {
                    let (section, key) = (pair.section.to_owned(), pair.key.to_owned());
                    return Err(ConfigError::Control { path: path.clone(), section, key });
                }
                add(&mut layers.given, pair.section, pair.key, pair.value);
            }
        }
        for (section, key, value) in &self.overrides {
            check_text(section, key, Some(value))?;
            add(&mut layers.given, section, key, value);
        }
        Settings::read(&layers)?;
        *self.layers.lock() = layers;
        Ok(())
    }

    /// What of the files and flags has no effect here.
    pub fn findings(&self) -> Findings {
        let mut layers = self.layers.lock().clone();
        layers.asked = Some(RefCell::default());
        // It could be read before, and is read once more for what it asks for.
        drop(Settings::read(&layers));
        let asked = layers.asked.take().map(RefCell::into_inner).unwrap_or_default();
        Findings::of(&layers.given, &asked)
    }

    /// The files, lowest first.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn read(&self, path: &Path) -> Result<String, ConfigError> {
        match fs::read_to_string(path) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.last_file() == Some(path) =>
            {
                Ok(String::new())
            }
            result => result.map_err(|error| ConfigError::File { path: path.to_owned(), error }),
        }
    }

    fn last_file(&self) -> Option<&Path> {
        self.files.last().map(PathBuf::as_path)
    }

    /// One value.
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        self.layers.lock().get(section, key).map(str::to_owned)
    }

    /// Everything, by section and key.
    pub fn all(&self) -> Sections {
        self.layers.lock().merged()
    }

    /// One section; empty when there is none of that name.
    pub fn section(&self, name: &str) -> BTreeMap<String, String> {
        self.layers.lock().section(name)
    }

    /// The options with their types.
    pub fn settings(&self) -> Settings {
        // What is in the layers was read once already, before it got there.
        Settings::read(&self.layers.lock()).unwrap_or_default()
    }

    /// Refuses what a client may not change.
    ///
    /// # Errors
    ///
    /// [`ConfigError::SectionReadOnly`], or [`ConfigError::KeyReadOnly`] when there is a
    /// `[chttpd] config_whitelist` and it doesn't name the key.
    pub fn check_changeable(&self, section: &str, key: &str) -> Result<(), ConfigError> {
        if READ_ONLY_SECTIONS.contains(&section.split(':').next().unwrap_or_default()) {
            return Err(ConfigError::SectionReadOnly);
        }
        match self.get("chttpd", "config_whitelist") {
            Some(list) if !is_listed(&list, section, key) => Err(ConfigError::KeyReadOnly),
            _ => Ok(()),
        }
    }

    /// Sets a value (or removes it, with `None`) and returns the one before; with `persist`, in
    /// the last file too. A built-in default can't be removed, only overridden.
    ///
    /// # Errors
    ///
    /// When the text can't stand in an ini file, the value means nothing to the option, or the
    /// file can't be written; then nothing has changed.
    pub fn set(
        &self,
        section: &str,
        key: &str,
        value: Option<&str>,
        persist: bool,
    ) -> Result<Option<String>, ConfigError> {
        check_text(section, key, value)?;
        let mut layers = self.layers.lock();
        let previous = layers.get(section, key).map(str::to_owned);
        let mut changed = layers.clone();
        match value {
            Some(value) => add(&mut changed.given, section, key, value),
            None => {
                changed.given.get_mut(section).map(|pairs| pairs.remove(key));
                changed.given.retain(|_, pairs| !pairs.is_empty());
            }
        }
        Settings::read(&changed)?;
        if persist {
            self.write(section, key, value)?;
        }
        *layers = changed;
        Ok(previous)
    }

    fn write(&self, section: &str, key: &str, value: Option<&str>) -> Result<(), ConfigError> {
        let Some(path) = self.last_file() else { return Ok(()) };
        let text = ini::with(&self.read(path)?, section, key, value);
        file::replace(path, &text)
            .map_err(|error| ConfigError::File { path: path.to_owned(), error })
    }
}

/// Whether an Erlang list such as `[{log, level}, {cors, "*"}]` names the key.
fn is_listed(list: &str, section: &str, key: &str) -> bool {
    let bare = |text: &str| text.trim().trim_matches(['"', '\'', '<', '>']).to_owned();
    list.split('{').skip(1).filter_map(|entry| entry.split('}').next()).any(|entry| {
        entry.split_once(',').is_some_and(|(listed_section, listed_key)| {
            let listed_key = bare(listed_key);
            bare(listed_section) == section && (listed_key == key || listed_key == "*")
        })
    })
}

fn check_text(section: &str, key: &str, value: Option<&str>) -> Result<(), ConfigError> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    let name =
        |text: &str| printable(text) && !text.trim().is_empty() && !text.contains(['[', ']']);
    if !name(section) {
        return Err(ConfigError::Text("section"));
    }
    // A key with `=` reads back only if it is separated by ` = `, as it is written; one that
    // holds ` = ` itself, or starts a comment, doesn't.
    if !name(key) || key.contains(" = ") || key.starts_with(';') || key.contains(" ;") {
        return Err(ConfigError::Text("key"));
    }
    if !value.is_none_or(|value| printable(value) && !value.contains(" ;")) {
        return Err(ConfigError::Text("value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(files: &[&str]) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..files.len()).map(|n| dir.path().join(format!("{n}.ini"))).collect();
        for (path, text) in paths.iter().zip(files) {
            fs::write(path, text).unwrap();
        }
        let config = Config::load(paths, &[]).unwrap();
        (dir, config)
    }

    #[test]
    fn later_layers_win() {
        let (dir, _) = config(&["[log]\nlevel = debug\n[a]\nx = 1\n", "[a]\nx = 2\n"]);
        let files = vec![dir.path().join("0.ini"), dir.path().join("1.ini")];
        let flag = ("chttpd".to_owned(), "port".to_owned(), "1".to_owned());
        let config = Config::load(files, &[flag]).unwrap();
        assert_eq!(config.get("log", "level").as_deref(), Some("debug"));
        assert_eq!(config.get("a", "x").as_deref(), Some("2"));
        assert_eq!(config.settings().port, 1);
        assert_eq!(config.get("nothing", "here"), None);
    }

    #[test]
    fn only_the_last_file_may_be_missing() {
        let missing = || PathBuf::from("/nonexistent/local.ini");
        assert!(Config::load(vec![missing()], &[]).is_ok());
        assert!(Config::load(vec![missing(), missing().with_extension("b")], &[]).is_err());
    }

    #[test]
    fn a_value_that_means_nothing_changes_nothing() {
        let (_dir, config) = config(&["[couchdb]\nmax_document_size = 5\n"]);
        let error = config.set("couchdb", "max_document_size", Some("many"), true).unwrap_err();
        assert!(error.to_string().starts_with("[couchdb] max_document_size = many"), "{error}");
        assert_eq!(config.settings().max_document_size, 5);
        let text = fs::read_to_string(config.last_file().unwrap()).unwrap();
        assert_eq!(text, "[couchdb]\nmax_document_size = 5\n");
    }

    #[test]
    fn changes_outlive_a_reload_only_in_the_file() {
        let (_dir, config) = config(&["[a]\nx = 1\n"]);
        assert_eq!(config.set("a", "x", Some("2"), false).unwrap().as_deref(), Some("1"));
        assert_eq!(config.set("a", "y", Some("3"), true).unwrap(), None);
        config.reload().unwrap();
        assert_eq!(config.get("a", "x").as_deref(), Some("1"));
        assert_eq!(config.get("a", "y").as_deref(), Some("3"));
        assert_eq!(config.set("a", "y", None, true).unwrap().as_deref(), Some("3"));
        config.reload().unwrap();
        assert_eq!(config.get("a", "y"), None);
    }

    #[test]
    fn text_that_would_break_the_file_is_refused() {
        let (_dir, config) = config(&["[a]\nx = 1\n"]);
        for (section, key, value) in [
            ("a]\n[b", "x", "1"),
            ("", "x", "1"),
            ("a", "x = y", "1"),
            ("a", ";x", "1"),
            ("a", "x\ny", "1"),
            ("a", "x", "1\n[admins]\nroot = toor"),
            ("a", "x", "1 ; and no more"),
        ] {
            assert!(
                config.set(section, key, Some(value), true).is_err(),
                "{section} {key} {value}"
            );
        }
        assert_eq!(fs::read_to_string(config.last_file().unwrap()).unwrap(), "[a]\nx = 1\n");
    }

    #[test]
    fn the_whitelist_is_kept() {
        let (_dir, config) =
            config(&["[chttpd]\nconfig_whitelist = [{log,\"level\"}, {cors, \"*\"}]\n"]);
        assert!(config.check_changeable("log", "level").is_ok());
        assert!(config.check_changeable("cors", "origins").is_ok());
        assert!(config.check_changeable("log", "file").is_err());
        assert!(config.check_changeable("query_servers", "x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("local.ini");
        let config = Config::load(vec![path.clone()], &[]).unwrap();
        config.set("admins", "anna", Some("-pbkdf2-x"), true).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
