//! Messages that reach no customer: to a customer who has left, or from someone who is no agent. The sender gets a
//! notice, once an hour in each conversation.

use std::collections::HashMap;

use parking_lot::Mutex;
use rand::RngExt as _;

use super::{Arrival, DedupKeys, customer_with_account};
use crate::bridge::Bridge;
use crate::bridge::notice;
use crate::bridge::send_policy::enqueue_notice;
use crate::model::{Answer, Direction, ImUserId, Lane, MessageKind, Millis, OpenId};
use crate::store::{Customer, NewMessage, Scope, StoreError, Tx};

/// How long a conversation gets no second notice, milliseconds.
const HOUR_MS: i64 = 3600 * 1000;
/// Conversations remembered at the same time. Beyond this, senders get no notice.
const MAX_CONVERSATIONS: usize = 10_000;

/// When the sender of each conversation last got a notice; the conversation is the sender and the receiver.
#[derive(Debug, Default)]
pub(in crate::bridge) struct HourlyNotices(Mutex<HashMap<(ImUserId, ImUserId), Millis>>);

impl HourlyNotices {
    /// Whether a notice is due, which is then counted as given.
    fn take(&self, from: &ImUserId, to: &ImUserId, now: Millis) -> bool {
        let mut given = self.0.lock();
        let is_recent = |at: &Millis| (0..HOUR_MS).contains(&now.since(*at));
        let key = (from.clone(), to.clone());
        if given.get(&key).is_some_and(is_recent) {
            return false;
        }
        if given.len() >= MAX_CONVERSATIONS {
            given.retain(|_, at| is_recent(at));
        }
        let has_room = given.len() < MAX_CONVERSATIONS || given.contains_key(&key);
        if has_room {
            given.insert(key, now);
        }
        has_room
    }

    /// A notice could not be stored.
    fn give_back(&self, from: &ImUserId, to: &ImUserId) {
        self.0.lock().remove(&(from.clone(), to.clone()));
    }
}

impl Bridge {
    /// Answers a message to a known customer from someone who is no agent with a notice. The message is never moved,
    /// even if its sender becomes an agent and a backfill finds it.
    pub async fn accept_stray(&self, stray: Answer) -> Result<(), StoreError> {
        let inner = self.inner();
        let (from, to) = (stray.from.clone(), stray.to.clone());
        let (account, sender) = (to.clone(), from.clone());
        let is_stray = move |tx: &Tx<'_>| {
            // Customers cannot write to one another.
            Ok(customer_with_account(tx, &account)?.is_some()
                && customer_with_account(tx, &sender)?.is_none())
        };
        if !inner.store.read(is_stray).await? {
            return Ok(());
        }
        let is_due = inner.hourly_notices.take(&from, &to, inner.clock.now());
        let (text, random) = (notice::not_an_agent(inner.settings.texts.locale), rand::rng().random());
        let written = inner.store.write_for(Scope::account(&to), move |tx| {
            let Some(customer) = customer_with_account(tx, &stray.to)? else { return Ok(None) };
            let keys = DedupKeys::of(&stray);
            keys.insert(tx, Arrival::Callback)?;
            let source = format!("{}:stray", keys.message_key);
            let has_notice =
                is_due && enqueue_notice(tx, &customer.openid, &stray.from, &text, &source, random)?;
            Ok(has_notice.then_some(customer.openid))
        });
        let written = written.await.inspect_err(|_| inner.hourly_notices.give_back(&from, &to))?;
        self.notify_to_im(written);
        Ok(())
    }

    /// Answers an agent's message to a customer who has left with a notice, if the customer's account still exists.
    pub(super) async fn notify_of_departed(&self, from: &ImUserId, to: &ImUserId) -> Result<(), StoreError> {
        let inner = self.inner();
        let account = to.clone();
        let Some(former) = inner.store.read(move |tx| departed_with_account(tx, &account)).await? else {
            return Ok(());
        };
        if !inner.hourly_notices.take(from, to, inner.clock.now()) {
            return Ok(());
        }
        let text = notice::customer_left(inner.settings.texts.locale, 0);
        let (agent, random): (_, u32) = (from.clone(), rand::rng().random());
        let written = inner.store.write_for(Scope::customer(&former.openid), move |tx| {
            let Some(mut former) = tx.customer(&former.openid)?.filter(is_departed) else { return Ok(None) };
            tx.add(&farewell(&former, &agent, &text, random))?;
            former.next_seq = former.next_seq.wrapping_add(1);
            tx.put_customer(&former)?;
            Ok(Some(former.openid))
        });
        let written = written.await.inspect_err(|_| inner.hourly_notices.give_back(from, to))?;
        self.notify_to_im(written);
        Ok(())
    }

    fn notify_to_im(&self, customer: Option<OpenId>) {
        if let Some(customer) = customer {
            self.0.work_signal.notify(Lane { direction: Direction::ToIm, customer });
        }
    }
}

/// A notice in the conversation of a customer who has left, whose row goes when it is settled.
pub(in crate::bridge) fn farewell(
    former: &Customer,
    agent: &ImUserId,
    text: &str,
    random: u32,
) -> NewMessage {
    NewMessage {
        direction: Direction::ToIm,
        kind: MessageKind::Notice,
        openid: former.openid.clone(),
        agent: Some(agent.clone()),
        calls: notice::calls(text),
        msg_seq: former.next_seq,
        msg_random: random,
        source: String::new(),
        erase: true,
    }
}

/// A customer who has left and whose IM account is kept.
fn is_departed(customer: &Customer) -> bool {
    !customer.known && customer.imported
}

fn departed_with_account(tx: &Tx<'_>, user: &ImUserId) -> Result<Option<Customer>, StoreError> {
    for openid in user.possible_openids() {
        let found = tx.customer(&openid)?.filter(|customer| {
            let account = ImUserId::of_customer(&customer.openid, customer.number);
            is_departed(customer) && account.is_ok_and(|account| account == *user)
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_due_once_an_hour_in_each_of_a_limited_number_of_conversations() {
        let notices = HourlyNotices::default();
        let user = |n: usize| ImUserId::new(format!("u{n}")).unwrap();
        let at = Millis;
        assert!(notices.take(&user(1), &user(2), at(0)));
        assert!(!notices.take(&user(1), &user(2), at(HOUR_MS - 1)));
        assert!(notices.take(&user(1), &user(3), at(1)), "another conversation");
        assert!(notices.take(&user(1), &user(2), at(HOUR_MS)));
        notices.give_back(&user(1), &user(2));
        assert!(notices.take(&user(1), &user(2), at(HOUR_MS)));
        for n in 0..MAX_CONVERSATIONS {
            notices.take(&user(n), &user(9), at(HOUR_MS));
        }
        assert!(!notices.take(&user(MAX_CONVERSATIONS), &user(9), at(HOUR_MS)));
        assert!(notices.take(&user(MAX_CONVERSATIONS), &user(9), at(2 * HOUR_MS)));
    }
}
