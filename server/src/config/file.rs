//! The files on disk: which they are, and replacing the text of one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The configuration file of a folder.
const LOCAL_INI: &str = "local.ini";

/// The folders of further files beside it, each before (`true`) or after the file itself.
const FOLDERS: [(&str, bool); 2] = [("default.d", true), ("local.d", false)];

/// The files that a folder stands for, lowest first, as in CouchDB's `etc`: `default.d/*.ini`,
/// `local.ini`, `local.d/*.ini`. `local.ini` is among them even when it is yet to be made, unless
/// there are files that stand above it.
///
/// # Errors
///
/// When a folder is there and can't be read.
pub fn of_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let local = folder.join(LOCAL_INI);
    let mut files = Vec::new();
    let mut above = Vec::new();
    for (name, below) in FOLDERS {
        let found = ini_files(&folder.join(name))?;
        if below { files.extend(found) } else { above.extend(found) }
    }
    if above.is_empty() || local.exists() {
        files.push(local);
    }
    files.extend(above);
    Ok(files)
}

fn ini_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ini") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Writes beside the file and renames, so that a crash leaves the old text or the new one. A file
/// made here is its owner's alone, for it holds password hashes and the cookie secret; one that was
/// there keeps its mode.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = target.as_os_str().to_owned();
    beside.push(".new");
    let mut file = open_private(Path::new(&beside))?;
    if let Ok(existing) = fs::metadata(&target) {
        file.set_permissions(existing.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match fs::rename(&beside, &target) {
        // A file that is mounted into a container by itself can only be written over.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            fs::remove_file(&beside)?;
            let mut file = File::options().write(true).truncate(true).open(&target)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        }
        result => result.and_then(|()| sync_folder(&target)),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(unix)]
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn open_private(path: &Path) -> io::Result<File> {
    File::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes these files and checks which of them a folder stands for.
    fn check(made: &[&str], expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for path in made {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let files = of_folder(dir.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.strip_prefix(dir.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_folder_stands_for_its_files_in_order() {
        check(&[], &["local.ini"]);
        check(
            &["local.d/b.ini", "local.d/a.ini", "local.d/README"],
            &["local.d/a.ini", "local.d/b.ini"],
        );
        check(
            &["local.d/a.ini", "local.ini", "default.d/z.ini", "default.ini"],
            &["default.d/z.ini", "local.ini", "local.d/a.ini"],
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_mode_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.ini"), dir.path().join("link.ini"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
