//! The bridge's counters, read from its operations listener as an operator reads them. They are
//! read only while a page is open.

use serde::Serialize;

/// The outcomes of messages since the sandbox started, in both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Messages that the bridge accepted.
    pub accepted: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Answers that are held now, until their customer writes.
    pub held: u64,
    /// Messages that their agents took back in time.
    pub recalled: u64,
    /// Messages that a platform refused.
    pub refused: u64,
    /// Messages whose outcome is unknown.
    pub unknown: u64,
    /// Messages that the bridge still has to act on now.
    pub waiting: u64,
    /// Customers' messages that wait until the desk opens.
    pub deferred: u64,
    /// Customers who wait until an agent is free.
    pub line: u64,
}

impl Counters {
    /// Parses the text of `/metrics`.
    pub fn parse(metrics: &str) -> Self {
        let mut counters = Self::default();
        let samples = metrics.lines().filter_map(|line| line.strip_prefix("wechat_im_bridge_"));
        for (series, value) in samples.filter_map(|line| line.rsplit_once(' ')) {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().unwrap_or(0);
            match name {
                "accepted_total" => counters.accepted += value,
                "waiting" => counters.waiting = value,
                "held" => counters.held = value,
                "deferred" => counters.deferred = value,
                "line_customers" => counters.line = value,
                "ended_total" if labels.contains("state=\"delivered\"") => counters.delivered += value,
                "ended_total" if labels.contains("state=\"recalled\"") => counters.recalled += value,
                "ended_total" if labels.contains("state=\"refused\"") => counters.refused += value,
                "ended_total" if labels.contains("state=\"unknown\"") => counters.unknown += value,
                _ => {}
            }
        }
        counters
    }

    /// The counters of several bridges together. Each reads what is so now from the same store.
    pub fn of_all(each: impl IntoIterator<Item = Self>) -> Self {
        each.into_iter().fold(Self::default(), |all, one| Self {
            accepted: all.accepted + one.accepted,
            delivered: all.delivered + one.delivered,
            recalled: all.recalled + one.recalled,
            refused: all.refused + one.refused,
            unknown: all.unknown + one.unknown,
            held: all.held.max(one.held),
            waiting: all.waiting.max(one.waiting),
            deferred: all.deferred.max(one.deferred),
            line: all.line.max(one.line),
        })
    }
}

/// The counters over several processes of the bridge, each of which counts from 0.
#[derive(Debug, Default)]
pub struct CounterTotals {
    /// The totals of the earlier processes.
    before: Counters,
    now: Counters,
    pid: u32,
}

impl CounterTotals {
    /// Takes the counters of the process `pid`, and returns the new totals.
    pub fn update(&mut self, pid: u32, now: Counters) -> Counters {
        if pid != self.pid {
            self.before = self.total();
            self.pid = pid;
        }
        self.now = now;
        self.total()
    }

    /// The latest totals. What is so now is that of the current process.
    pub fn total(&self) -> Counters {
        let (before, now) = (self.before, self.now);
        Counters {
            accepted: before.accepted + now.accepted,
            delivered: before.delivered + now.delivered,
            recalled: before.recalled + now.recalled,
            refused: before.refused + now.refused,
            unknown: before.unknown + now.unknown,
            held: now.held,
            waiting: now.waiting,
            deferred: now.deferred,
            line: now.line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_parsed_and_summed_over_several_processes() {
        let text = "# HELP x\nwechat_im_bridge_accepted_total{source=\"push\"} 3\n\
                    wechat_im_bridge_accepted_total{source=\"callback\"} 2\n\
                    wechat_im_bridge_ended_total{direction=\"to_im\",state=\"delivered\"} 3\n\
                    wechat_im_bridge_ended_total{direction=\"to_wechat\",state=\"held\"} 9\n\
                    wechat_im_bridge_ended_total{direction=\"to_wechat\",state=\"unknown\"} 1\n\
                    wechat_im_bridge_ended_total{direction=\"to_wechat\",state=\"recalled\"} 2\n\
                    wechat_im_bridge_waiting 1\nwechat_im_bridge_held 1\n\
                    wechat_im_bridge_deferred 4\nwechat_im_bridge_line_customers 2\n\
                    wechat_im_bridge_line_oldest_seconds 9\nother_total 7\n# EOF\n";
        let counters = Counters::parse(text);
        let expected = Counters {
            accepted: 5,
            delivered: 3,
            held: 1,
            recalled: 2,
            refused: 0,
            unknown: 1,
            waiting: 1,
            deferred: 4,
            line: 2,
        };
        assert_eq!(counters, expected);
        let mut totals = CounterTotals::default();
        assert_eq!(totals.update(1, counters), expected);
        let second = Counters { accepted: 1, ..Counters::default() };
        let total = totals.update(2, second);
        assert_eq!((total.accepted, total.delivered, total.held), (6, 3, 0));
        assert_eq!(totals.update(2, second), total);
        let all = Counters::of_all([total, Counters { held: 2, waiting: 1, ..total }]);
        assert_eq!((all.accepted, all.held, all.waiting), (12, 2, 1));
    }
}
