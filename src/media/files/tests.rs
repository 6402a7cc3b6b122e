//! Files are stored completely or not at all.

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use super::*;

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn files() -> (TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path(), Clock::system()).unwrap();
    (folder, files)
}

async fn store(files: &Files, bytes: &[u8]) -> StoredFile {
    let mut incoming = files.create(1_000).await.unwrap();
    for chunk in bytes.chunks(2) {
        incoming.write(chunk).await.unwrap();
    }
    incoming.finish().await.unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let listed = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_are_named_by_hash_and_equal_ones_stored_once() {
    let (folder, files) = files();
    let stored = store(&files, b"hello").await;
    assert_eq!((stored.hash.as_str(), stored.size, stored.kind), (HELLO, 5, FileType::Other));
    assert_eq!(store(&files, b"hello").await.hash, stored.hash);
    assert_eq!(names(folder.path()), [HELLO, INCOMING]);
    let mut read = String::new();
    files.read(&stored.hash).await.unwrap().unwrap().read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello");
    assert!(files.read(&MediaHash::of_digest([0; 32])).await.unwrap().is_none());
}

#[tokio::test]
async fn too_large_or_abandoned_files_leave_nothing() {
    let (folder, files) = files();
    let mut incoming = files.create(5).await.unwrap();
    incoming.write(b"hello").await.unwrap();
    assert!(matches!(incoming.write(b"!").await, Err(FilesError::TooLarge(5))));
    drop(incoming);
    // The removal runs in the background, so wait until the directory is empty.
    while !names(&folder.path().join(INCOMING)).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(names(folder.path()), [INCOMING]);
    assert!(files.failing().is_none(), "a file that is too large is not a failure of the disk");
}

#[tokio::test]
async fn incomplete_files_are_removed_at_the_start() {
    let (folder, files) = files();
    let kept = store(&files, b"hello").await;
    std::fs::write(folder.path().join(INCOMING).join("half"), b"hel").unwrap();
    let again = Files::open(folder.path(), Clock::system()).unwrap();
    assert!(names(&folder.path().join(INCOMING)).is_empty());
    assert!(again.list().unwrap().eq([kept.hash.clone()]));
}

#[tokio::test]
async fn a_file_that_is_just_being_stored_again_is_not_removed() {
    let (_folder, files) = files();
    let stored = store(&files, b"hello").await;
    let hash = stored.hash.clone();
    assert!(!files.mark_unreferenced(&hash), "a row may be about to reference it");
    drop(stored);
    assert!(files.mark_unreferenced(&hash));
    let again = store(&files, b"hello").await;
    files.remove(&hash).unwrap();
    assert!(files.read(&hash).await.unwrap().is_some());
    drop(again);
    assert!(files.mark_unreferenced(&hash));
    files.remove(&hash).unwrap();
    assert!(files.read(&hash).await.unwrap().is_none());
}

#[tokio::test]
async fn a_missing_directory_is_reported_until_it_returns() {
    let (folder, files) = files();
    let incoming = folder.path().join(INCOMING);
    std::fs::remove_dir(&incoming).unwrap();
    let refused = files.create(5).await.unwrap_err().to_string();
    assert!(refused.contains("media.dir") && refused.contains("writable"), "{refused}");
    assert!(files.failing().is_some());
    std::fs::create_dir(&incoming).unwrap();
    drop(store(&files, b"x").await);
    assert!(files.failing().is_none());
}

#[tokio::test]
async fn a_read_failure_ends_with_the_next_successful_read() {
    let (folder, files) = files();
    let stored = store(&files, b"hello").await;
    let path = files.path(&stored.hash);
    std::fs::remove_file(&path).unwrap();
    // A symbolic link to itself cannot be opened, not even by root.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(files.read(&stored.hash).await.is_err() && files.failing().is_some());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"hello").unwrap();
    std::fs::remove_dir(folder.path().join(INCOMING)).unwrap();
    assert!(files.create(5).await.is_err());
    assert!(files.read(&stored.hash).await.unwrap().is_some());
    assert!(files.failing().is_some(), "a successful read does not prove that files can be written");
    std::fs::create_dir(folder.path().join(INCOMING)).unwrap();
    drop(store(&files, b"x").await);
    assert!(files.failing().is_none());
    assert!(files.read(&stored.hash).await.unwrap().is_some() && files.failing().is_none());
}
