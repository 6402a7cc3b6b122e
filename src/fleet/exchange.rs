//! What instances signal to one another: that a lane has work. Notification after the commit that
//! created the work. A signal that is lost costs time, never a message: whoever may have missed one scans its lanes.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::{Direction, Lane, OpenId};
use crate::store::MEMBERS_CHANGED;

/// The most lanes that wait to be told, or to be taken. Beyond that, everybody scans the store.
const MAX_LANES: usize = 16_384;
/// The most lanes in one notification, whose text PostgreSQL limits to 8,000 bytes.
const LANES_EACH: usize = 200;

/// What was signalled to this instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ForeignSignals {
    /// Lanes with new work.
    pub lanes: HashSet<Lane>,
    /// Signals may have been missed, or shards have come: the store must be scanned.
    pub must_scan: bool,
}

/// The signals from and to other instances.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    outgoing: Mutex<Outgoing>,
    has_outgoing: Notify,
    incoming: Mutex<ForeignSignals>,
    has_incoming: Notify,
}

#[derive(Debug, Default)]
struct Outgoing {
    lanes: HashSet<Lane>,
    everybody_must_scan: bool,
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notification {
    /// These lanes have work.
    Lanes(Vec<Lane>),
    /// More lanes have work than could be told.
    Scan,
    /// An instance has come or gone.
    MembersChanged,
}

impl Notification {
    /// The text of the notification.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Lanes(lanes) => {
                let words = lanes.iter().map(|lane| format!("{}{}", letter(lane.direction), lane.customer));
                format!("l {}", words.collect::<Vec<_>>().join(" "))
            }
            Self::Scan => "s".to_owned(),
            Self::MembersChanged => MEMBERS_CHANGED.to_owned(),
        }
    }

    /// Reads the text of a notification; `None` if this version does not know it.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "s" => Some(Self::Scan),
            None if text == MEMBERS_CHANGED => Some(Self::MembersChanged),
            Some(("l", lanes)) => lanes.split(' ').map(parse_lane).collect::<Option<_>>().map(Self::Lanes),
            _ => None,
        }
    }
}

fn letter(direction: Direction) -> char {
    match direction {
        Direction::ToIm => 'i',
        Direction::ToWechat => 'w',
    }
}

fn parse_lane(word: &str) -> Option<Lane> {
    let direction = [Direction::ToIm, Direction::ToWechat].into_iter();
    let mut direction = direction.filter(|direction| word.starts_with(letter(*direction)));
    Some(Lane { direction: direction.next()?, customer: OpenId::new(word.get(1..)?).ok()? })
}

impl Exchange {
    /// Signals work in a lane of another instance.
    pub(super) fn signal(&self, lane: Lane) {
        {
            let mut outgoing = self.outgoing.lock();
            if outgoing.lanes.len() < MAX_LANES {
                outgoing.lanes.insert(lane);
            } else {
                outgoing.everybody_must_scan = true;
            }
        }
        self.has_outgoing.notify_one();
    }

    /// Signals that everybody must scan the store.
    pub(super) fn signal_scan(&self) {
        self.outgoing.lock().everybody_must_scan = true;
        self.has_outgoing.notify_one();
    }

    /// Waits until there is something to tell.
    pub(super) async fn has_outgoing(&self) {
        self.has_outgoing.notified().await;
    }

    /// What is to be told now.
    pub(super) fn take_outgoing(&self) -> Vec<Notification> {
        let Outgoing { lanes, everybody_must_scan } = std::mem::take(&mut *self.outgoing.lock());
        let lanes: Vec<Lane> = lanes.into_iter().collect();
        let mut told: Vec<Notification> =
            lanes.chunks(LANES_EACH).map(|lanes| Notification::Lanes(lanes.to_vec())).collect();
        told.extend(everybody_must_scan.then_some(Notification::Scan));
        told
    }

    /// What could not be told is told later.
    pub(super) fn put_back(&self, told: Vec<Notification>) {
        for told in told {
            match told {
                Notification::Lanes(lanes) => lanes.into_iter().for_each(|lane| self.signal(lane)),
                Notification::Scan => self.signal_scan(),
                Notification::MembersChanged => {}
            }
        }
    }

    /// Lanes of this instance have work.
    pub(super) fn hear(&self, lanes: impl IntoIterator<Item = Lane>) {
        {
            let mut incoming = self.incoming.lock();
            for lane in lanes {
                if incoming.lanes.len() < MAX_LANES {
                    incoming.lanes.insert(lane);
                } else {
                    incoming.must_scan = true;
                }
            }
        }
        self.has_incoming.notify_one();
    }

    /// The store must be scanned.
    pub(super) fn scan(&self) {
        self.incoming.lock().must_scan = true;
        self.has_incoming.notify_one();
    }

    pub(super) async fn signalled(&self) {
        self.has_incoming.notified().await;
    }

    pub(super) fn take(&self) -> ForeignSignals {
        std::mem::take(&mut *self.incoming.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(n: usize) -> Lane {
        let direction = if n.is_multiple_of(2) { Direction::ToIm } else { Direction::ToWechat };
        Lane { direction, customer: OpenId::new(format!("o{n:031}")).unwrap() }
    }

    #[test]
    fn what_is_told_is_read_and_fits_a_notification() {
        let exchange = Exchange::default();
        (0..1_000).for_each(|n| exchange.signal(lane(n)));
        let told = exchange.take_outgoing();
        let read: Vec<Notification> = told
            .iter()
            .map(|told| {
                let text = told.to_text();
                assert!(text.len() < 8_000, "{} bytes", text.len());
                Notification::of_text(&text).unwrap()
            })
            .collect();
        assert_eq!(read, told);
        let lanes = told.iter().filter_map(|told| match told {
            Notification::Lanes(lanes) => Some(lanes.len()),
            _ => None,
        });
        assert_eq!(lanes.sum::<usize>(), 1_000);
        assert_eq!(exchange.take_outgoing(), []);
        for text in ["", "x", "l ", "l xo1", "l io1  io2", "scan"] {
            assert_eq!(Notification::of_text(text), None, "{text}");
        }
        assert_eq!(Notification::of_text(MEMBERS_CHANGED), Some(Notification::MembersChanged));
    }

    #[test]
    fn what_is_too_much_makes_everybody_scan() {
        let exchange = Exchange::default();
        (0..=MAX_LANES).for_each(|n| exchange.signal(lane(n)));
        let told = exchange.take_outgoing();
        assert!(told.contains(&Notification::Scan));
        exchange.put_back(told.clone());
        assert_eq!(exchange.take_outgoing().len(), told.len());
        exchange.hear((0..=MAX_LANES).map(lane));
        let signals = exchange.take();
        assert!(signals.must_scan && signals.lanes.len() == MAX_LANES);
        assert_eq!(exchange.take(), ForeignSignals::default());
    }
}
