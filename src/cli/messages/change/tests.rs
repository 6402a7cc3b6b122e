use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Direction, MessageKind, OpenId, OutboundCall};
use crate::store::{Closing, Customer, Head, NewMessage, Settlement, testing};

fn store() -> (Store, Closing) {
    Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap()
}

/// Adds a message and makes `moves` with it.
fn message(tx: &Tx<'_>, moves: &[Move]) -> Result<MessageId, StoreError> {
    let openid = OpenId::new("oAnna").unwrap();
    tx.put_customer(&Customer::new(openid.clone()))?;
    let id = tx.add(&testing::message(
        Direction::ToWechat,
        &openid,
        OutboundCall::TextToCustomer("hello".to_owned()),
    ))?;
    for transition in moves {
        match transition {
            Move::Attempt => tx.record_attempt_at(id)?,
            transition => drop(tx.settle(id, *transition, &Settlement::default())?),
        }
    }
    Ok(id)
}

const HELD: &[Move] = &[Move::Hold];
const REFUSED: &[Move] = &[Move::Refuse];
const UNKNOWN: &[Move] = &[Move::Attempt, Move::MarkUnknown];
const DELIVERED: &[Move] = &[Move::Attempt, Move::Deliver];
const SENDING: &[Move] = &[Move::Attempt];

const STATES: [&[Move]; 6] = [&[], HELD, REFUSED, UNKNOWN, SENDING, DELIVERED];

const RETRY: Change = Change::Retry { of_delivered: true };
const DISCARD: Change = Change::Discard { locale: Locale::En, random: 7 };

#[tokio::test]
async fn a_message_can_be_retried_in_every_state() {
    let (store, closing) = store();
    for moves in STATES {
        let id = store.write(move |tx| message(tx, moves)).await.unwrap();
        assert_eq!(
            apply_batch(&store, vec![id.0], None, RETRY, &Desk::default()).await.unwrap(),
            1,
            "{moves:?}"
        );
        let check = move |tx: &Tx<'_>| {
            assert_eq!(tx.state(id)?, State::Accepted, "{moves:?}");
            let Head::Ready(head) = tx.head(&tx.lane_of(id)?)? else { panic!("{moves:?}: it is not due") };
            assert_eq!((head.id, head.call_index), (id, 0), "{moves:?}");
            tx.act_as_operator(id, Move::Discard, None)?;
            tx.kv(OPERATOR_SIGNAL)
        };
        assert!(store.write(check).await.unwrap().is_some());
    }
    let steps = store.read(|tx| tx.steps(&OpenId::new("oAnna").unwrap())).await.unwrap();
    assert_eq!(steps.iter().filter(|step| step.event == "retry").count(), STATES.len());
    closing.close();
}

#[tokio::test]
async fn a_message_can_be_discarded_in_every_state() {
    let (store, closing) = store();
    for moves in STATES {
        let id = store.write(move |tx| message(tx, moves)).await.unwrap();
        assert_eq!(
            apply_batch(&store, vec![id.0], None, DISCARD, &Desk::default()).await.unwrap(),
            1,
            "{moves:?}"
        );
        let listed = store.read(move |tx| tx.message_summary(id)).await.unwrap();
        assert_eq!(listed.state, "refused", "{moves:?}");
        assert_eq!(listed.last_error.as_deref(), Some("discarded by the operator"));
    }
    closing.close();
}

#[tokio::test]
async fn nothing_is_changed_if_one_of_the_ids_is_delivered_or_not_stored() {
    let (store, closing) = store();
    let (held, delivered) =
        store.write(|tx| Ok((message(tx, HELD)?.0, message(tx, DELIVERED)?.0))).await.unwrap();
    let careful = Change::Retry { of_delivered: false };
    for (ids, change) in [(vec![held, delivered], careful), (vec![held, 99], DISCARD)] {
        assert!(apply_batch(&store, ids.clone(), None, change, &Desk::default()).await.is_err(), "{ids:?}");
        let state = store.read(move |tx| tx.state(MessageId(held))).await.unwrap();
        assert_eq!(state, State::Held, "{ids:?}");
    }
    closing.close();
}

#[tokio::test]
async fn a_note_is_never_sent_and_can_be_removed() {
    let (store, closing) = store();
    let note = store
        .write(|tx| {
            let openid = OpenId::new("oAnna").unwrap();
            tx.put_customer(&Customer::new(openid.clone()))?;
            let call = OutboundCall::Note("pays late".to_owned());
            let note = testing::message(Direction::ToIm, &openid, call);
            tx.add_note(&NewMessage { kind: MessageKind::Note, ..note })
        })
        .await
        .unwrap();
    assert!(apply_batch(&store, vec![note.0], None, RETRY, &Desk::default()).await.is_err());
    let found = Some(State::ALL.to_vec());
    assert_eq!(apply_batch(&store, vec![note.0], found, RETRY, &Desk::default()).await.unwrap(), 0);
    assert_eq!(store.read(move |tx| tx.state(note)).await.unwrap(), State::Delivered);
    assert_eq!(apply_batch(&store, vec![note.0], None, DISCARD, &Desk::default()).await.unwrap(), 1);
    let openid = OpenId::new("oAnna").unwrap();
    assert_eq!(store.read(move |tx| tx.last_messages(&openid, 9)).await.unwrap(), []);
    closing.close();
}

#[tokio::test]
async fn a_message_whose_state_has_changed_since_it_was_found_is_left_alone() {
    let (store, closing) = store();
    let ids = store.write(|tx| Ok(vec![message(tx, HELD)?.0, message(tx, UNKNOWN)?.0])).await.unwrap();
    let found = Some(vec![State::Unknown]);
    assert_eq!(
        apply_batch(&store, [ids.as_slice(), &[99]].concat(), found, DISCARD, &Desk::default())
            .await
            .unwrap(),
        1
    );
    let held = MessageId(ids[0]);
    assert_eq!(store.read(move |tx| tx.state(held)).await.unwrap(), State::Held);
    closing.close();
}
