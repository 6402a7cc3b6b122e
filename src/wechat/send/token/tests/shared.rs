//! Several holders over one store, as several instances have them.

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::metrics::Metrics;
use crate::store::{self, Store, StoreLocation};

const HOUR: i64 = 60 * MINUTE;

/// A real store, and a count of the answers that another holder is fetching.
#[derive(Clone)]
struct Shared {
    tokens: DatabaseTokenStore,
    store: Store,
    closing: Arc<Mutex<Option<store::Closing>>>,
    busy: Arc<watch::Sender<Vec<HolderId>>>,
}

impl Shared {
    fn open(clock: &Clock) -> Self {
        Self::open_at(&store::testing::location(), clock)
    }

    fn open_at(location: &StoreLocation, clock: &Clock) -> Self {
        let (store, closing) = Store::open(location, clock.clone(), Metrics::default()).unwrap();
        Self {
            tokens: DatabaseTokenStore::new(store.clone()),
            store,
            closing: Arc::new(Mutex::new(Some(closing))),
            busy: Arc::default(),
        }
    }

    fn holder(&self, fake: &Fake, clock: &Clock) -> Arc<TokenHolder> {
        fake.holder(clock, Arc::new(self.clone()))
    }

    /// Waits until so many holders have seen that another one is fetching.
    async fn until_waiting(&self, holders: usize) {
        let mut busy = self.busy.subscribe();
        let waiting = busy.wait_for(|busy| busy.len() >= holders);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }

    async fn put(&self, text: &'static str) {
        self.store.write(move |tx| tx.put_kv("access_token", text)).await.unwrap();
    }

    async fn record(&self) -> Value {
        let text = self.store.read(|tx| tx.kv("access_token")).await.unwrap().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

impl TokenStore for Shared {
    fn claim(&self, holder: HolderId, wanted: Wanted) -> BoxFuture<'_, Result<Claim, StoreError>> {
        let claimed = self.tokens.claim(holder, wanted).inspect(move |claim| {
            if matches!(claim, Ok(Claim::Busy)) {
                self.busy.send_if_modified(|busy| {
                    let is_new = !busy.contains(&holder);
                    busy.extend(is_new.then_some(holder));
                    is_new
                });
            }
        });
        claimed.boxed()
    }

    fn spend_forced(
        &self,
        holder: HolderId,
        limits: ForcedLimits,
    ) -> BoxFuture<'_, Result<Spent, StoreError>> {
        self.tokens.spend_forced(holder, limits)
    }

    fn save(&self, holder: HolderId, token: StoredToken) -> BoxFuture<'_, Result<StoredToken, StoreError>> {
        self.tokens.save(holder, token)
    }

    fn release(&self, holder: HolderId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.tokens.release(holder)
    }
}

/// What a holder without a token wants.
fn any() -> Wanted {
    Wanted { above_generation: 0, expires_after: Millis(0), refused: None }
}

fn start(holder: &Arc<TokenHolder>) -> tokio::task::JoinHandle<Result<Token, TokenError>> {
    let holder = Arc::clone(holder);
    tokio::spawn(async move { holder.current().await })
}

#[tokio::test]
async fn a_token_outlives_the_process_and_reaches_other_instances() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let one = shared.holder(&fake, &clock);
    let first = one.current().await.unwrap();
    let two = shared.holder(&fake, &clock);
    assert_eq!(two.current().await.unwrap().generation, first.generation);
    assert_eq!(fake.fetches(), (1, 0));
    // One of them has to force a refresh; the other finds the new token in the store.
    let second = one.replace_rejected(first.generation).await.unwrap();
    assert_eq!(two.replace_rejected(first.generation).await.unwrap().generation, second.generation);
    assert_eq!(fake.fetches(), (2, 1));
}

#[tokio::test]
async fn three_holders_that_are_refused_at_once_force_one_refresh() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let holders: Vec<_> = (0..3).map(|_| shared.holder(&fake, &clock)).collect();
    for holder in &holders {
        assert_eq!(value(&holder.current().await.unwrap()), "77_token_1");
    }
    fake.set(|account| account.open = false);
    let refused = holders.iter().map(|holder| {
        let holder = Arc::clone(holder);
        tokio::spawn(async move { holder.replace_rejected(1).await })
    });
    let refused = join_all(refused.collect::<Vec<_>>());
    // One of them fetches, and both others wait for it.
    shared.until_waiting(2).await;
    fake.until(|account| account.normal == 2).await;
    fake.set(|account| account.open = true);
    for token in soon(refused).await {
        let token = token.unwrap().unwrap();
        assert_eq!((token.generation, value(&token)), (2, "77_token_2"));
    }
    assert_eq!(fake.fetches(), (2, 1), "one forced refresh for all");
    assert_eq!(shared.record().await["claim"], Value::Null);
}

#[tokio::test]
async fn a_newer_stored_token_wins() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    fake.set(|account| account.open = false);
    let fetching = start(&shared.holder(&fake, &clock));
    fake.until(|account| account.normal == 1).await;
    let newer = StoredToken { value: "77_newer".into(), generation: 9, expires_at: clock.now().plus(MINUTE) };
    shared.save(HolderId::random(), newer).await.unwrap();
    fake.set(|account| account.open = true);
    assert_eq!(value(&fetching.await.unwrap().unwrap()), "77_newer");
}

#[tokio::test]
async fn an_expired_stored_token_is_not_taken() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    shared.holder(&fake, &clock).current().await.unwrap();
    clock.advance(7_200_000);
    fake.set(|account| account.token = 2);
    let token = shared.holder(&fake, &clock).current().await.unwrap();
    assert_eq!((token.generation, value(&token)), (2, "77_token_2"));
}

#[tokio::test]
async fn a_failed_fetch_lets_the_next_holder_fetch_at_once() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    fake.set(|account| {
        account.open = false;
        account.token_script.push_back(code(40164, "invalid ip"));
    });
    let (one, two) = (shared.holder(&fake, &clock), shared.holder(&fake, &clock));
    let failing = start(&one);
    fake.until(|account| account.normal == 1).await;
    let waiting = start(&two);
    shared.until_waiting(1).await;
    fake.set(|account| account.open = true);
    failing.await.unwrap().unwrap_err();
    soon(waiting).await.unwrap().unwrap();
    // The pause after the failure is only the first one's.
    one.current().await.unwrap_err();
    assert_eq!(shared.record().await["claim"], Value::Null);
}

#[tokio::test]
async fn a_dead_holder_delays_the_others_until_its_claim_runs_out() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let claim = shared.claim(HolderId::random(), any()).await.unwrap();
    assert!(matches!(claim, Claim::Claimed(None)), "{claim:?}");
    let waiting = start(&shared.holder(&fake, &clock));
    shared.until_waiting(1).await;
    assert_eq!(fake.fetches(), (0, 0));
    clock.advance(12_000);
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(fake.fetches(), (1, 0));
}

#[tokio::test]
async fn an_instance_that_has_the_store_alone_waits_for_no_dead_claim() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let before = Shared::open_at(&StoreLocation::Memory, &clock);
    before.claim(HolderId::random(), any()).await.unwrap();
    let after = Shared { tokens: DatabaseTokenStore::new(before.store.clone()), ..before };
    soon(after.holder(&fake, &clock).current()).await.unwrap();
    // It does wait for the claims of its own process.
    after.claim(HolderId::random(), Wanted { above_generation: 1, ..any() }).await.unwrap();
    let other = after.claim(HolderId::random(), Wanted { above_generation: 1, ..any() }).await.unwrap();
    assert!(matches!(other, Claim::Busy), "{other:?}");
}

#[tokio::test]
async fn a_holder_that_lost_its_claim_forces_nothing() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let holder = shared.holder(&fake, &clock);
    holder.current().await.unwrap();
    fake.set(|account| account.open = false);
    let late = Arc::clone(&holder);
    let late = tokio::spawn(async move { late.replace_rejected(1).await });
    fake.until(|account| account.normal == 2).await;
    clock.advance(12_000);
    let refused = Some(SecretString::from("77_token_1"));
    let claim = shared.claim(HolderId::random(), Wanted { refused, ..any() }).await.unwrap();
    assert!(matches!(claim, Claim::Claimed(Some(_))), "{claim:?}");
    fake.set(|account| account.open = true);
    assert_eq!(late.await.unwrap().unwrap_err(), TokenError::Claimed);
    assert_eq!(fake.fetches(), (2, 0));
    let claim = shared.claim(HolderId::random(), Wanted { above_generation: 1, ..any() }).await.unwrap();
    assert!(matches!(claim, Claim::Busy), "it has ended the claim of another holder: {claim:?}");
}

#[tokio::test]
async fn a_forced_refresh_renews_the_claim() {
    let clock = Clock::movable();
    let shared = Shared::open(&clock);
    let holder = HolderId::random();
    shared.claim(holder, any()).await.unwrap();
    clock.advance(10_000);
    let limits = Settings::default().forced;
    assert_eq!(shared.spend_forced(holder, limits).await.unwrap(), Spent::Granted);
    clock.advance(10_000);
    let other = shared.claim(HolderId::random(), any()).await.unwrap();
    assert!(matches!(other, Claim::Busy), "{other:?}");
}

#[tokio::test]
async fn the_budget_is_shared_and_survives_a_restart() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    // Each time another process.
    for used in 0..20 {
        clock.advance(30_000);
        let holder = shared.holder(&fake, &clock);
        let generation = holder.current().await.unwrap().generation;
        holder.replace_rejected(generation).await.unwrap();
        assert_eq!(fake.get(|account| account.forced), used + 1);
        // Nor may another one force a refresh at the same time.
        let other = shared.holder(&fake, &clock);
        let generation = other.current().await.unwrap().generation;
        let error = other.replace_rejected(generation).await.unwrap_err();
        assert!(matches!(error, TokenError::Budget { .. }), "{error}");
    }
    clock.advance(30_000);
    let holder = shared.holder(&fake, &clock);
    let generation = holder.current().await.unwrap().generation;
    let Err(TokenError::Budget { retry_at }) = holder.replace_rejected(generation).await else {
        panic!("forced again")
    };
    let wait = retry_at.since(clock.now());
    assert!((23 * HOUR..24 * HOUR).contains(&wait), "{wait}");
    clock.advance(wait + 1);
    holder.current().await.unwrap();
    assert_eq!(fake.get(|account| account.forced), 21);
}

#[tokio::test]
async fn a_forced_refresh_that_fails_counts() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let one = shared.holder(&fake, &clock);
    one.current().await.unwrap();
    let same =
        Scripted::Response(200, json!({ "access_token": "77_token_1", "expires_in": 7200 }).to_string());
    fake.set(|account| account.token_script.extend([same, code(-1, "system error")]));
    one.replace_rejected(1).await.unwrap_err();
    let two = shared.holder(&fake, &clock);
    let error = two.replace_rejected(two.current().await.unwrap().generation).await.unwrap_err();
    assert!(matches!(error, TokenError::Budget { .. }), "{error}");
    assert_eq!(fake.get(|account| account.forced), 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_block_for_ever() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let holder = shared.holder(&fake, &clock);
    holder.current().await.unwrap();
    let second = holder.replace_rejected(1).await.unwrap();
    shared.claim(HolderId::random(), Wanted { above_generation: 9, ..any() }).await.unwrap();
    clock.advance(-HOUR);
    // The claim of the future lasts no longer than one of now.
    let late = Arc::clone(&holder);
    let late = tokio::spawn(async move { late.replace_rejected(second.generation).await });
    shared.until_waiting(1).await;
    clock.advance(12_000);
    // Nor does the forced refresh of the future forbid another one.
    assert_eq!(value(&soon(late).await.unwrap().unwrap()), "77_token_3");
    assert_eq!(fake.get(|account| account.forced), 2);
}

#[tokio::test]
async fn a_record_of_the_version_before_is_read() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    shared.put(r#"{"value":"77_old","generation":7,"expires_at":9000000000000}"#).await;
    let token = shared.holder(&fake, &clock).current().await.unwrap();
    assert_eq!((token.generation, value(&token)), (7, "77_old"));
    assert_eq!(fake.fetches(), (0, 0));
}

#[tokio::test]
async fn the_version_before_reads_a_claim_as_an_expired_token() {
    let clock = Clock::movable();
    let shared = Shared::open(&clock);
    shared.claim(HolderId::random(), any()).await.unwrap();
    let record = shared.record().await;
    let fields = (&record["value"], &record["generation"], &record["expires_at"]);
    assert_eq!(fields, (&json!(""), &json!(0), &json!(0)));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_replaced() {
    for text in ["", "{", r#"{"value":7}"#, r#"{"value":"77_x","generation":"77_leak"}"#, "[]"] {
        let (fake, clock) = (Fake::start().await, Clock::movable());
        let shared = Shared::open(&clock);
        shared.put(text).await;
        shared.holder(&fake, &clock).current().await.unwrap();
        assert_eq!(shared.record().await["value"], "77_token_1", "{text}");
        shared.holder(&fake, &clock).current().await.unwrap();
        assert_eq!(fake.fetches(), (1, 0), "{text}");
    }
}

#[tokio::test]
async fn without_the_store_a_holder_fetches_by_itself() {
    let (fake, clock) = (Fake::start().await, Clock::movable());
    let shared = Shared::open(&clock);
    let holder = shared.holder(&fake, &clock);
    holder.current().await.unwrap();
    let closing = shared.closing.lock().take().unwrap();
    closing.close();
    let second = holder.replace_rejected(1).await.unwrap();
    assert_eq!(value(&second), "77_token_2");
    // It keeps to the budget.
    let error = holder.replace_rejected(second.generation).await.unwrap_err();
    assert!(matches!(error, TokenError::Budget { .. }), "{error}");
}
