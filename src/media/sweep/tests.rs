use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Direction, MediaName, MediaOrigin, OpenId, OutboundCall};
use crate::store::{Closing, MediumFile, StoreLocation, testing};
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;

struct Fixture {
    sweeper: Sweeper,
    clock: Clock,
    _folder: TempDir,
    _closing: Closing,
}

fn fixture() -> Fixture {
    fixture_at(&testing::location())
}

fn fixture_at(location: &StoreLocation) -> Fixture {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::movable());
    let (store, closing) = Store::open(location, clock.clone(), Metrics::default()).unwrap();
    let kept_in = store.keeps_media().then(|| store.clone());
    let files = Files::open_cache(folder.path(), clock.clone(), kept_in).unwrap();
    Fixture {
        sweeper: Sweeper::new(store, files, 30 * DAY_MS, clock.clone()),
        clock,
        _folder: folder,
        _closing: closing,
    }
}

impl Fixture {
    async fn store_file(&self, number: u128, openid: &str, bytes: &[u8]) -> MediaHash {
        let mut incoming = self.sweeper.files.create(1_000_000).await.unwrap();
        incoming.write(bytes).await.unwrap();
        let stored = incoming.finish().await.unwrap();
        let (name, openid) = (MediaName::of_bits(number), OpenId::new(openid).unwrap());
        let file = MediumFile { hash: stored.hash.clone(), size: stored.size };
        let row = move |tx: &crate::store::Tx<'_>| {
            tx.add_medium(&name, &openid, MediaOrigin::Customer)?;
            tx.set_medium_file(&name, &file)
        };
        assert!(self.sweeper.store.write(row).await.unwrap());
        stored.hash.clone()
    }

    async fn is_there(&self, hash: &MediaHash) -> bool {
        self.sweeper.files.read(hash).await.unwrap().is_some()
    }

    async fn forget_customer(&self, openid: &str) {
        let openid = OpenId::new(openid).unwrap();
        self.sweeper.store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
    }
}

#[tokio::test]
async fn a_customers_files_go_with_the_customer_but_not_those_of_others() {
    let fixture = fixture();
    let own = fixture.store_file(1, "oA", b"own").await;
    let shared = fixture.store_file(2, "oA", b"shared").await;
    assert_eq!(fixture.store_file(3, "oB", b"shared").await, shared);
    fixture.sweeper.round().await.unwrap();
    assert!(fixture.is_there(&own).await);
    fixture.forget_customer("oA").await;
    fixture.sweeper.round().await.unwrap();
    assert!(!fixture.is_there(&own).await && fixture.is_there(&shared).await);
    fixture.forget_customer("oB").await;
    fixture.sweeper.round().await.unwrap();
    assert!(!fixture.is_there(&shared).await);
    assert_eq!(fixture.sweeper.store.read(|tx| tx.orphans(9)).await.unwrap(), []);
}

#[tokio::test]
async fn files_older_than_the_retention_are_removed() {
    let fixture = fixture();
    let old = fixture.store_file(1, "oA", b"old").await;
    fixture.clock.advance(29 * DAY_MS);
    let young = fixture.store_file(2, "oA", b"young").await;
    fixture.clock.advance(2 * DAY_MS);
    fixture.sweeper.round().await.unwrap();
    assert!(!fixture.is_there(&old).await && fixture.is_there(&young).await);
}

#[tokio::test]
async fn the_oldest_go_first_when_all_are_too_large_but_never_those_that_wait() {
    let fixture = fixture();
    let mut hashes = Vec::new();
    for (number, openid) in [(1, "oWaits"), (2, "oA"), (3, "oB"), (4, "oC")] {
        hashes.push(fixture.store_file(number, openid, &[u8::try_from(number).unwrap(); 90]).await);
        fixture.clock.advance(1_000);
    }
    let waiting =
        testing::message(Direction::ToIm, &OpenId::new("oWaits").unwrap(), OutboundCall::ImportAccount);
    fixture.sweeper.store.write(move |tx| tx.add(&waiting)).await.unwrap();
    let left = async || {
        let mut left = Vec::new();
        for hash in &hashes {
            left.push(fixture.is_there(hash).await);
        }
        left
    };
    fixture.sweeper.limit_total(Some(4 * 90));
    fixture.sweeper.round().await.unwrap();
    assert_eq!(left().await, [true, true, true, true], "at the limit");
    fixture.sweeper.limit_total(Some(3 * 90));
    fixture.sweeper.round().await.unwrap();
    assert_eq!(left().await, [true, false, true, true], "the oldest that no message needs");
    fixture.sweeper.limit_total(Some(1));
    fixture.sweeper.round().await.unwrap();
    assert_eq!(left().await, [true, false, false, false]);
    assert_eq!(fixture.sweeper.files.total_bytes(), 90);
}

#[tokio::test]
async fn a_file_that_never_got_a_row_is_found_at_the_start() {
    let fixture = fixture();
    let kept = fixture.store_file(1, "oA", b"kept").await;
    let mut incoming = fixture.sweeper.files.create(100).await.unwrap();
    incoming.write(b"lost").await.unwrap();
    let lost = incoming.finish().await.unwrap();
    fixture.sweeper.mark_lost_files().await.unwrap();
    fixture.sweeper.round().await.unwrap();
    assert!(fixture.is_there(&lost.hash).await, "its row may still come");
    let hash = lost.hash.clone();
    drop(lost);
    fixture.sweeper.round().await.unwrap();
    assert!(!fixture.is_there(&hash).await && fixture.is_there(&kept).await);
}

#[tokio::test]
async fn on_postgresql_the_directory_is_only_a_cache() {
    let Some(location) = testing::on_postgres() else { return };
    let fixture = fixture_at(&location);
    // More than two rows of the database.
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let hash = fixture.store_file(1, "oA", &bytes).await;
    let path = fixture.sweeper.files.path(&hash);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::remove_file(&path).unwrap();
    assert!(fixture.is_there(&hash).await, "it came back from the database");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    // Without a configured limit nothing is lost by a cache that is too large.
    fixture.sweeper.files.shrink_cache(0).unwrap();
    assert!(!path.exists());
    fixture.sweeper.round().await.unwrap();
    assert!(fixture.is_there(&hash).await);

    fixture.forget_customer("oA").await;
    fixture.sweeper.round().await.unwrap();
    assert!(!path.exists() && !fixture.is_there(&hash).await);
    let gone = hash.clone();
    assert_eq!(fixture.sweeper.store.read(move |tx| tx.chunk(&gone, 0)).await.unwrap(), None);

    // Bytes that got no row before a crash go at the next start.
    let lost = hash.clone();
    fixture.sweeper.store.write(move |tx| tx.put_chunk(&lost, 0, b"lost")).await.unwrap();
    fixture.sweeper.mark_lost_files().await.unwrap();
    fixture.sweeper.round().await.unwrap();
    assert_eq!(fixture.sweeper.store.read(move |tx| tx.chunk(&hash, 0)).await.unwrap(), None);
}
