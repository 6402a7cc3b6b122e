//! Writes the files of a new configuration: all or none, each for this user alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::exists;
use crate::cli::Error;

/// The file of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretFile {
    /// The key whose value it has.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// Fails if one of the files exists.
pub(super) fn refuse_existing<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    for path in paths {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
    }
    Ok(())
}

/// Writes all files, with mode 0600, and returns their names. If one cannot be written, none of them stays.
pub(super) fn write_all<'a>(files: impl Iterator<Item = (&'a Path, String)>) -> Result<Vec<String>, Error> {
    let mut written: Vec<PathBuf> = Vec::new();
    for (path, content) in files {
        let result = write(path, &content);
        let is_ours = !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
        if is_ours {
            written.push(path.to_owned());
        }
        if let Err(error) = result {
            for path in &written {
                // One that could not be made is not there to be removed.
                let _ = fs::remove_file(path);
            }
            if !is_ours {
                return Err(exists(path));
            }
            return Err(Error::Failed(
                anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
            ));
        }
    }
    Ok(written.iter().map(|path| path.display().to_string()).collect())
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
        fs::write(&second, "theirs").unwrap();
        let files = || [&first, &second, &third].map(|path| (path.as_path(), "ours".to_owned())).into_iter();
        assert!(refuse_existing(files().map(|(path, _)| path)).is_err());
        assert!(write_all(files()).is_err());
        assert_eq!(fs::read_to_string(&second).unwrap(), "theirs");
        assert!(!first.exists() && !third.exists());
        fs::remove_file(&second).unwrap();
        assert_eq!(write_all(files()).unwrap().len(), 3);
        let nowhere = folder.path().join("none/file");
        let fourth = folder.path().join("fourth");
        let files = [(fourth.as_path(), String::new()), (nowhere.as_path(), String::new())];
        assert!(write_all(files.into_iter()).is_err());
        assert!(!fourth.exists());
    }
}
