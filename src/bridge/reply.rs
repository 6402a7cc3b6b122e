//! The passive reply: what a push is answered with, and what becomes of the answers that ride on it.

use super::{Bridge, Inner};
use crate::model::{Direction, Lane, Millis, OpenId, Order};
use crate::store::{Held, StoreError};

/// The longest passive reply WeChat surely shows, in bytes ("Passive replies", "Unknown").
const REPLY_BYTES: usize = 2_000;
/// WeChat asks three times, five seconds each; until then a repeat may still carry the reply out.
pub(super) const RIDE_MS: i64 = 20_000;
/// Held answers looked at for one reply.
pub(super) const LOOKED_AT: u32 = 64;

/// The answer to a push.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The text; `None` is `success`.
    pub text: Option<String>,
    /// When the push was first answered: the reply's `CreateTime`.
    pub at: Millis,
    /// To be told whether the reply was written out, where answers ride on it.
    pub receipt: Option<Receipt>,
}

/// Stands for the answers that ride on one reply.
#[derive(Clone, Debug)]
pub struct Receipt {
    openid: OpenId,
    key: String,
}

impl Receipt {
    pub(super) fn new(openid: OpenId, key: String) -> Self {
        Self { openid, key }
    }
}

/// What of the held answers rides: the reply's text, and how many orders of each message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ride {
    pub text: String,
    pub taken: Vec<(crate::model::MessageId, u32)>,
}

/// As many whole answers as fit, in order, joined by line breaks. An answer longer than a reply goes part by part.
pub(super) fn ride(held: &[Held]) -> Ride {
    let mut ride = Ride::default();
    for message in held {
        let texts: Option<Vec<&str>> = message.orders.iter().map(text).collect();
        let Some(texts) = texts else { break };
        let whole = texts.concat();
        if !fits(&ride.text, &whole) {
            // Only the first of a reply may be taken in parts: parts of one answer stay together elsewhere.
            if ride.taken.is_empty()
                && let Some(first) = texts.first()
            {
                (*first).clone_into(&mut ride.text);
                ride.taken.push((message.id, 1));
            }
            break;
        }
        if !ride.text.is_empty() {
            ride.text.push('\n');
        }
        ride.text.push_str(&whole);
        ride.taken.push((message.id, u32::try_from(texts.len()).unwrap_or(u32::MAX)));
    }
    ride
}

fn fits(present: &str, more: &str) -> bool {
    let separator = usize::from(!present.is_empty());
    present.len() + separator + more.len() <= REPLY_BYTES
}

fn text(order: &Order) -> Option<&str> {
    match order {
        Order::TextToCustomer(text) => Some(text),
        _ => None,
    }
}

impl Bridge {
    /// The reply was written out, or certainly not: settles what rode on it.
    pub async fn reply_written(&self, receipt: Receipt, written: bool) -> Result<(), StoreError> {
        let Inner { store, metrics, clock, bell, .. } = &*self.0;
        let Receipt { openid, key } = receipt;
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        let now = clock.now();
        let ridden = store
            .write(move |tx| {
                if !written {
                    tx.ride_unwritten(&openid, &key)?;
                    return Ok(Vec::new());
                }
                let ridden = tx.ride_written(&openid, &key)?;
                for one in &ridden {
                    tx.step(&openid, Some(one.id), "passive reply", "written out", None)?;
                }
                Ok(ridden)
            })
            .await?;
        for one in ridden.iter().filter(|one| one.whole) {
            metrics.delivered(Direction::ToWechat, now.since(one.created_at));
        }
        // What was released behind them has been waiting for this.
        bell.ring(lane);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MessageId;
    use proptest::prelude::*;

    fn held(id: i64, texts: &[String]) -> Held {
        let orders = texts.iter().cloned().map(Order::TextToCustomer).collect();
        Held { id: MessageId(id), agent: None, orders }
    }

    proptest! {
        #[test]
        fn a_ride_is_a_prefix_of_what_is_held_and_fits(
            texts in prop::collection::vec(prop::collection::vec("[a-z]{1,1200}", 1..4), 0..8)
        ) {
            let held: Vec<Held> = texts.iter().enumerate().map(|(n, t)| held(i64::try_from(n).unwrap(), t)).collect();
            let ride = ride(&held);
            prop_assert!(ride.text.len() <= REPLY_BYTES);
            prop_assert_eq!(held.is_empty(), ride.taken.is_empty());
            for (taken, message) in ride.taken.iter().zip(&held) {
                prop_assert_eq!(taken.0, message.id);
                prop_assert!(taken.1 as usize == message.orders.len() || ride.taken.len() == 1);
            }
        }
    }

    #[test]
    fn whole_messages_are_joined_by_a_line_break() {
        let ride = ride(&[held(1, &["one".into()]), held(2, &["two".into()]), held(3, &["x".repeat(1_999)])]);
        assert_eq!(ride, Ride { text: "one\ntwo".into(), taken: vec![(MessageId(1), 1), (MessageId(2), 1)] });
    }
}
